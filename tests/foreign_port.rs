//! What a port that is not our arm leads to: one clear error in bounded time.

use firmware_bridge::frame::{MAX_FRAME, encode};
use firmware_bridge::message::{DeviceMessage, PROTOCOL_VERSION};
use hindsight::arm::{ArmError, BridgeArm, BridgeOptions};
use hindsight::clock::Clock;
use hindsight::link::Link;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// A port of another kind: it answers everything that is written to it with the same bytes.
#[derive(Debug, Clone)]
struct Other {
    now_us: Rc<Cell<u64>>,
    says: Vec<u8>,
    endless: bool,
    pending: Rc<RefCell<VecDeque<u8>>>,
}

impl Other {
    fn new(says: &[u8]) -> Self {
        Self { now_us: Rc::default(), says: says.to_vec(), endless: false, pending: Rc::default() }
    }

    fn refusal(&self) -> ArmError {
        BridgeArm::connect(self.clone(), self.clone(), BridgeOptions::default()).unwrap_err()
    }
}

impl Clock for Other {
    fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    fn sleep_until_us(&mut self, deadline_us: u64) {
        self.now_us.set(self.now_us.get().max(deadline_us));
    }
}

impl Link for Other {
    type Error = std::convert::Infallible;

    fn write_all(&mut self, _: &[u8]) -> Result<(), Self::Error> {
        self.pending.borrow_mut().extend(&self.says);
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8], deadline_us: u64) -> Result<usize, Self::Error> {
        let mut pending = self.pending.borrow_mut();
        if self.endless {
            self.now_us.set(self.now_us.get() + 1_000);
            pending.push_back(b'x');
        }
        let count = buf.len().min(pending.len());
        buf.iter_mut().zip(pending.drain(..count)).for_each(|(slot, byte)| *slot = byte);
        if count == 0 {
            self.now_us.set(self.now_us.get().max(deadline_us));
        }
        Ok(count)
    }

    fn discard_input(&mut self) -> Result<(), Self::Error> {
        self.pending.borrow_mut().clear();
        Ok(())
    }
}

#[test]
fn another_version_is_refused_and_the_error_names_both() {
    let mut frame = [0; MAX_FRAME];
    let hello = DeviceMessage::Hello { version: 42, boot_id: 1, watchdog_us: 1, limits: Default::default() };
    let len = encode(&hello, &mut frame).unwrap();
    let error = Other::new(&frame[..len]).refusal();
    assert!(matches!(error, ArmError::Version { host: PROTOCOL_VERSION, firmware: 42 }), "{error}");
}

#[test]
fn a_silent_and_a_foreign_port_are_told_apart_and_shown_in_bounded_time() {
    let silent = Other::new(b"");
    let error = silent.refusal();
    assert!(matches!(error, ArmError::Silent { waited_ms: 2_000 }), "{error}");
    assert_eq!(silent.now_us(), 2_000_000);

    let text = Other::new(b"$GPGGA,123519,4807.038,N");
    let error = text.refusal();
    assert!(matches!(error, ArmError::Foreign { count: 240, .. }), "{error}");
    assert!(error.to_string().contains("\"$GPGGA,123519,48\""), "{error}");
    assert!(text.now_us() <= 2_000_000);

    // Text without end, a byte a millisecond.
    let endless = Other { endless: true, ..Other::new(b"x") };
    assert!(matches!(endless.refusal(), ArmError::Foreign { .. }));
    assert!(endless.now_us() <= 2_100_000);

    // A servo bus with a status packet.
    let error = Other::new(&[0xff, 0xff, 1, 2, 0, 0xfc]).refusal();
    assert!(error.to_string().contains("ff ff 01 02 00 fc"), "{error}");
}
