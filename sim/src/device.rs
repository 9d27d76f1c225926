//! The far end of a serial line: the firmware, verbatim, in front of a simulated arm.
//!
//! A message is answered at the virtual time at which it arrives; the line itself takes no time.

use crate::world::World;
use firmware_bridge::firmware::{Config, Firmware};
use firmware_bridge::message::Mode;
use firmware_bridge::motors::Motors;
use std::collections::VecDeque;

/// Most bytes kept for a host that does not read them; later answers are lost, as in a UART's buffer.
pub(crate) const OUTPUT_MAX: usize = 64 * 1024;

/// What the firmware's motors are attached to, and what moves in virtual time.
pub trait Plant: Motors {
    /// Advances by one physics step.
    fn step(&mut self);

    /// Virtual time, µs since the start.
    fn time_us(&self) -> u64;
}

impl Plant for World {
    fn step(&mut self) {
        Self::step(self);
    }

    fn time_us(&self) -> u64 {
        Self::time_us(self)
    }
}

/// What answers at the far end of a serial line, in virtual time.
pub trait FarEnd {
    /// Takes bytes from the host.
    fn receive(&mut self, bytes: &[u8]);

    /// Does what is due, then advances by one physics step.
    fn step(&mut self);

    /// Moves bytes for the host into `buf`; says how many.
    fn read(&mut self, buf: &mut [u8]) -> usize;

    /// Throws away bytes that the host has not read.
    fn discard_output(&mut self);

    /// Virtual time, µs since the start.
    fn time_us(&self) -> u64;

    /// How long the answers that were read last have been held back, µs, besides the line's own time; asked once.
    fn delay_us(&mut self) -> u64 {
        0
    }

    /// Speed of the line, bit/s, with 10 bits a byte; `None` if bytes take no time.
    fn bit_rate(&self) -> Option<u32> {
        None
    }

    /// The host goes on at another speed, bit/s.
    fn set_bit_rate(&mut self, _bit_rate: u32) {}
}

/// A microcontroller with its arm, seen as a stream of bytes in virtual time.
#[derive(Debug)]
pub struct Device<P = World> {
    world: P,
    firmware: Firmware,
    boot_id: u32,
    output: VecDeque<u8>,
}

impl<P: Plant> Device<P> {
    /// Firmware that has just started in front of `world`.
    #[must_use]
    pub fn new(world: P, boot_id: u32) -> Self {
        let firmware = Firmware::new(boot_id, world.time_us(), Config::default());
        let output = VecDeque::with_capacity(4 * firmware_bridge::frame::MAX_FRAME);
        Self { world, firmware, boot_id, output }
    }

    /// Resets the microcontroller: the power is cut, the boot id is the next one, and answers on the way are lost.
    pub fn reboot(&mut self) {
        self.boot_id = self.boot_id.wrapping_add(1);
        self.firmware = Firmware::new(self.boot_id, self.world.time_us(), Config::default());
        self.output.clear();
        self.poll(&[]);
    }

    /// What the firmware is doing.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.firmware.mode()
    }

    /// The simulated arm and what is around it.
    #[must_use]
    pub fn world(&self) -> &P {
        &self.world
    }

    /// The simulated arm and what is around it.
    pub fn world_mut(&mut self) -> &mut P {
        &mut self.world
    }

    fn poll(&mut self, rx: &[u8]) {
        let Self { world, firmware, output, .. } = self;
        firmware.poll(world.time_us(), world, rx, &mut |frame| {
            if output.len() + frame.len() <= OUTPUT_MAX {
                output.extend(frame);
            }
        });
    }
}

impl<P: Plant> FarEnd for Device<P> {
    /// Answers at the present virtual time.
    fn receive(&mut self, bytes: &[u8]) {
        self.poll(bytes);
    }

    fn step(&mut self) {
        self.poll(&[]);
        self.world.step();
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        take(&mut self.output, buf)
    }

    fn discard_output(&mut self) {
        self.output.clear();
    }

    fn time_us(&self) -> u64 {
        self.world.time_us()
    }
}

/// Moves as much of `output` as fits into `buf`; says how much.
pub(crate) fn take(output: &mut VecDeque<u8>, buf: &mut [u8]) -> usize {
    let count = buf.len().min(output.len());
    for (slot, byte) in buf.iter_mut().zip(output.drain(..count)) {
        *slot = byte;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use firmware_bridge::frame::{Decoder, MAX_FRAME, encode};
    use firmware_bridge::message::{DeviceMessage, HostMessage};
    use firmware_bridge::{JointLimits, JointState};

    /// One joint that is where it is told to be.
    #[derive(Debug, Default)]
    struct Joint {
        time_us: u64,
        position_rad: f32,
        powered: bool,
    }

    impl Motors for Joint {
        type Error = ();

        fn limits(&self) -> &[JointLimits] {
            &[JointLimits { lower_rad: -1.0, upper_rad: 1.0, velocity_rad_s: 2.0 }]
        }

        fn measure(&mut self, state: &mut JointState) -> Result<(), ()> {
            for (values, value) in
                [(&mut state.position_rad, self.position_rad), (&mut state.velocity_rad_s, 0.0), (&mut state.load, 0.0)]
            {
                values.clear();
                values.push(value).map_err(|_| ())?;
            }
            Ok(())
        }

        fn drive(&mut self, goal_rad: &[f32]) -> Result<(), ()> {
            self.position_rad = goal_rad[0];
            self.powered = true;
            Ok(())
        }

        fn disable(&mut self) -> Result<(), ()> {
            self.powered = false;
            Ok(())
        }
    }

    impl Plant for Joint {
        fn step(&mut self) {
            self.time_us += 4_000;
        }

        fn time_us(&self) -> u64 {
            self.time_us
        }
    }

    fn ask(device: &mut Device<Joint>, message: &HostMessage) -> DeviceMessage {
        let mut frame = [0; MAX_FRAME];
        let len = encode(message, &mut frame).unwrap();
        device.receive(&frame[..len]);
        let (mut decoder, mut buf) = (Decoder::new(), [0; 7]);
        loop {
            let count = device.read(&mut buf);
            assert_ne!(count, 0, "no answer to {message:?}");
            if let Some(answer) = buf[..count].iter().find_map(|&byte| decoder.push(byte)) {
                return answer.unwrap();
            }
        }
    }

    fn active() -> Device<Joint> {
        let mut device = Device::new(Joint::default(), 5);
        ask(&mut device, &HostMessage::Hello { version: firmware_bridge::message::PROTOCOL_VERSION });
        ask(&mut device, &HostMessage::Activate { seq: 1 });
        device
    }

    #[test]
    fn answers_take_no_virtual_time_and_goals_do() {
        let mut device = active();
        assert_eq!((device.time_us(), device.mode()), (0, Mode::Active));
        let position_rad = [0.016].into_iter().collect();
        ask(&mut device, &HostMessage::Command { seq: 2, position_rad, horizon_us: 8_000 });
        assert_eq!(device.world().position_rad, 0.0);
        device.step();
        device.step();
        assert_eq!(device.time_us(), 8_000);
        assert!((device.world().position_rad - 0.008).abs() < 1e-6, "half of the horizon has passed");
        device.step();
        assert!((device.world().position_rad - 0.016).abs() < 1e-6, "all of it has passed");
    }

    #[test]
    fn a_reboot_cuts_the_power_and_shows() {
        let mut device = active();
        device.step();
        device.reboot();
        assert!(!device.world().powered);
        match ask(&mut device, &HostMessage::Poll { seq: 3 }) {
            DeviceMessage::State { boot_id, stamp_us, .. } => assert_eq!((boot_id, stamp_us), (6, 0)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_host_that_never_reads_costs_bounded_memory() {
        let mut device = active();
        let mut frame = [0; MAX_FRAME];
        let len = encode(&HostMessage::Poll { seq: 0 }, &mut frame).unwrap();
        for _ in 0..10_000 {
            device.receive(&frame[..len]);
        }
        assert!(device.output.len() <= OUTPUT_MAX);
        device.discard_output();
        ask(&mut device, &HostMessage::Poll { seq: 1 });
    }
}
