//! A port that comes back: a cable that was pulled out and put in again.
//!
//! For arms that hold by themselves what they were last told, such as bus servos; to their driver a port that is gone is
//! one on which nobody answers.

use super::Link;
use crate::clock::Clock;

/// Time between two tries to open the port again, µs: opening a port costs a control period or two.
const RETRY_US: u64 = 50_000;

/// A link that is opened anew once it has failed. Until that succeeds what is written is lost, and nothing arrives.
#[derive(Debug)]
pub struct Reopening<L, C, O> {
    link: Option<L>,
    clock: C,
    open: O,
    patience_us: u64,
    /// When the link failed, µs.
    lost_us: u64,
    tried_us: u64,
}

impl<L: Link, C: Clock, O: FnMut() -> Result<L, L::Error>> Reopening<L, C, O> {
    /// `link`, which `open` opens again when it has failed. After `patience_us` without success the failure is told.
    pub fn new(link: L, clock: C, patience_us: u64, open: O) -> Self {
        Self { link: Some(link), clock, open, patience_us, lost_us: 0, tried_us: 0 }
    }

    /// Does `work` on the link, if there is one; `None` while there is none.
    fn on_link<T>(&mut self, work: impl FnOnce(&mut L) -> Result<T, L::Error>) -> Result<Option<T>, L::Error> {
        let now_us = self.clock.now_us();
        if self.link.is_none() && now_us >= self.tried_us + RETRY_US {
            self.tried_us = now_us;
            match (self.open)() {
                Ok(link) => self.link = Some(link),
                Err(error) if now_us >= self.lost_us + self.patience_us => return Err(error),
                Err(_) => {}
            }
        }
        let Some(link) = &mut self.link else { return Ok(None) };
        match work(link) {
            Ok(done) => Ok(Some(done)),
            Err(_) => {
                // Closed before it is opened again: a port can be opened once only.
                self.link = None;
                (self.lost_us, self.tried_us) = (now_us, now_us);
                Ok(None)
            }
        }
    }
}

impl<L: Link, C: Clock, O: FnMut() -> Result<L, L::Error>> Link for Reopening<L, C, O> {
    type Error = L::Error;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), L::Error> {
        self.on_link(|link| link.write_all(bytes)).map(|_| ())
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, L::Error> {
        if let Some(count) = self.on_link(|link| link.read(buf, deadline_us))? {
            return Ok(count);
        }
        self.clock.sleep_until_us(deadline_us);
        Ok(0)
    }

    fn discard_input(&mut self) -> Result<(), L::Error> {
        self.on_link(L::discard_input).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    #[derive(Debug, Clone, Default)]
    struct Time(Rc<Cell<u64>>);

    impl Clock for Time {
        fn now_us(&self) -> u64 {
            self.0.get()
        }

        fn sleep_until_us(&mut self, deadline_us: u64) {
            self.0.set(self.0.get().max(deadline_us));
        }
    }

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("gone")]
    struct Gone;

    /// What was written through all links to one port, and whether its cable is in.
    #[derive(Debug, Clone, Default)]
    struct Cable {
        plugged: Rc<Cell<bool>>,
        written: Rc<RefCell<Vec<u8>>>,
        opened: Rc<Cell<u32>>,
    }

    /// A link that stays broken, as a file descriptor does, though the cable may be back.
    struct Wire {
        cable: Cable,
        broken: bool,
    }

    impl Cable {
        fn open(&self) -> Result<Wire, Gone> {
            if !self.plugged.get() {
                return Err(Gone);
            }
            self.opened.set(self.opened.get() + 1);
            Ok(Wire { cable: self.clone(), broken: false })
        }
    }

    impl Link for Wire {
        type Error = Gone;

        fn write_all(&mut self, bytes: &[u8]) -> Result<(), Gone> {
            self.broken |= !self.cable.plugged.get();
            if self.broken {
                return Err(Gone);
            }
            self.cable.written.borrow_mut().extend_from_slice(bytes);
            Ok(())
        }

        fn read(&mut self, _: &mut [u8], _: u64) -> Result<usize, Gone> {
            self.write_all(&[]).map(|()| 0)
        }

        fn discard_input(&mut self) -> Result<(), Gone> {
            self.write_all(&[])
        }
    }

    fn plugged() -> (Cable, Time) {
        let (cable, time) = (Cable::default(), Time::default());
        cable.plugged.set(true);
        (cable, time)
    }

    #[test]
    fn a_cable_that_is_back_in_time_is_used_again() {
        let (cable, time) = plugged();
        let open = || cable.open();
        let mut link = Reopening::new(cable.open().unwrap(), time.clone(), 1_000_000, open);
        link.write_all(b"a").unwrap();
        cable.plugged.set(false);
        for _ in 0..60 {
            link.write_all(b"lost").unwrap();
            let deadline_us = time.now_us() + 8_000;
            assert_eq!(link.read(&mut [0; 8], deadline_us), Ok(0));
            assert_eq!(time.now_us(), deadline_us, "a port that is gone does not make its reader spin");
        }
        cable.plugged.set(true);
        time.0.set(time.0.get() + RETRY_US);
        link.discard_input().unwrap();
        link.write_all(b"b").unwrap();
        assert_eq!((&cable.written.borrow()[..], cable.opened.get()), (&b"ab"[..], 2));
    }

    #[test]
    fn a_cable_that_stays_out_is_told_when_patience_ends() {
        let (cable, time) = plugged();
        let open = || cable.open();
        let mut link = Reopening::new(cable.open().unwrap(), time.clone(), 1_000_000, open);
        cable.plugged.set(false);
        let mut told_us = None;
        while told_us.is_none() && time.now_us() < 2_000_000 {
            let deadline_us = time.now_us() + 10_000;
            told_us = link.read(&mut [0; 8], deadline_us).err().map(|_| time.now_us());
        }
        assert!(told_us.is_some_and(|at_us| (1_000_000..1_100_000).contains(&at_us)), "{told_us:?}");
    }
}
