//! A simulated arm in this process: the same bytes, and virtual time that passes only while the host waits, as quickly
//! as it can be computed or, for people who watch, no quicker than real time.

use super::Link;
use crate::clock::Clock;
use sim::device::{Device, FarEnd};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A simulated device that a link, a clock, a tracker and a test can hold at once.
#[derive(Debug)]
pub struct SimHandle<D = Device>(Arc<Mutex<D>>);

impl<D> Clone for SimHandle<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: FarEnd> SimHandle<D> {
    /// Shares `device`.
    #[must_use]
    pub fn new(device: D) -> Self {
        Self(Arc::new(Mutex::new(device)))
    }

    /// The device, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, D> {
        // A panic elsewhere does not break bytes and time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host's end of the device's line.
    #[must_use]
    pub fn link(&self) -> Loopback<D> {
        Loopback(self.clone())
    }

    /// The device's time.
    #[must_use]
    pub fn clock(&self) -> VirtualClock<D> {
        VirtualClock { device: self.clone(), real: None }
    }

    /// The device's time, which passes no quicker than the machine's from now on: for people who watch.
    #[must_use]
    pub fn real_time_clock(&self) -> VirtualClock<D> {
        VirtualClock { device: self.clone(), real: Some((Instant::now(), self.lock().time_us())) }
    }
}

/// The host's end of a simulated device's line; waiting steps the simulator.
#[derive(Debug)]
pub struct Loopback<D = Device>(SimHandle<D>);

impl<D: FarEnd> Link for Loopback<D> {
    type Error = Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.lock().receive(bytes);
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, Infallible> {
        let mut device = self.0.lock();
        loop {
            let count = device.read(buf);
            if count > 0 || device.time_us() >= deadline_us {
                return Ok(count);
            }
            device.step();
        }
    }

    fn discard_input(&mut self) -> Result<(), Infallible> {
        self.0.lock().discard_output();
        Ok(())
    }

    fn set_bit_rate(&mut self, bit_rate: u32) -> Result<(), Infallible> {
        self.0.lock().set_bit_rate(bit_rate);
        Ok(())
    }
}

/// Time of a simulated device; sleeping steps the simulator, so it passes in whole physics steps.
#[derive(Debug)]
pub struct VirtualClock<D = Device> {
    device: SimHandle<D>,
    /// When real time began to count, and the device's time then, µs; `None` if nobody waits for it.
    real: Option<(Instant, u64)>,
}

impl<D> Clone for VirtualClock<D> {
    fn clone(&self) -> Self {
        Self { device: self.device.clone(), real: self.real }
    }
}

impl<D: FarEnd> Clock for VirtualClock<D> {
    fn now_us(&self) -> u64 {
        self.device.lock().time_us()
    }

    fn sleep_until_us(&mut self, deadline_us: u64) {
        let mut device = self.device.lock();
        while device.time_us() < deadline_us {
            device.step();
        }
        let reached_us = device.time_us();
        drop(device);
        if let Some((start, start_us)) = self.real {
            let due = start + Duration::from_micros(reached_us.saturating_sub(start_us));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::{ArmModel, SimParams, World};

    #[test]
    fn real_time_changes_when_a_simulated_arm_moves_but_not_how() {
        let device = || {
            let world = World::new(&ArmModel::so101().unwrap(), &SimParams::so101().unwrap(), 1).unwrap();
            SimHandle::new(Device::new(world, 1))
        };
        let (quick, watched) = (device(), device());
        quick.clock().sleep_until_us(60_000);
        let begun = Instant::now();
        watched.real_time_clock().sleep_until_us(60_000);
        assert!(begun.elapsed() >= Duration::from_millis(60), "never quicker than real time");
        assert_eq!(quick.lock().world().joint_positions(), watched.lock().world().joint_positions());
    }
}
