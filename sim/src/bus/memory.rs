//! A servo's registers: a part that is kept without power, and a part that is not.

use firmware_bridge::servo::Register;
use firmware_bridge::servo::register::{Access, Memory as Kind};

/// Bytes of register memory.
const SIZE: usize = 256;

/// Registers of one servo.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    registers: &'static [Register],
    bytes: [u8; SIZE],
    /// What is left without power.
    eeprom: [u8; SIZE],
}

impl Memory {
    /// Registers as delivered: `value` of each.
    pub(super) fn new(registers: &'static [Register], value: impl Fn(&Register) -> i32) -> Self {
        let mut memory = Self { registers, bytes: [0; SIZE], eeprom: [0; SIZE] };
        for register in registers {
            memory.set(register, value(register));
        }
        memory.eeprom = memory.bytes;
        memory.power_on();
        memory
    }

    /// Forgets what is not kept.
    pub(super) fn power_on(&mut self) {
        self.bytes = self.eeprom;
        for register in self.registers.iter().filter(|register| register.memory == Kind::Ram) {
            self.set(register, register.default.unwrap_or(0));
        }
    }

    /// What is kept without power.
    pub(super) fn eeprom(&self) -> &[u8] {
        &self.eeprom
    }

    /// Takes over what another's [`Memory::eeprom`] gave; false if it is none.
    pub(super) fn restore(&mut self, eeprom: &[u8]) -> bool {
        let Ok(eeprom) = eeprom.try_into() else { return false };
        self.eeprom = eeprom;
        true
    }

    /// The bytes from `address` on; `None` beyond the memory.
    pub(super) fn read(&self, address: u16, len: u16) -> Option<&[u8]> {
        self.bytes.get(usize::from(address)..usize::from(address) + usize::from(len))
    }

    /// The register that has the byte at `address`.
    pub(super) fn register_at(&self, address: u16) -> Option<&'static Register> {
        self.registers.iter().find(|register| (register.address..register.end()).contains(&address))
    }

    /// Stores what may be stored: registers that are read-only keep their bytes. `lasting` is whether the memory that
    /// is kept takes what is written to it.
    pub(super) fn write(&mut self, address: u16, data: &[u8], lasting: bool) {
        for (at, &byte) in (address..).zip(data) {
            let Some(register) = self.register_at(at).filter(|register| register.access == Access::ReadWrite) else {
                continue;
            };
            self.bytes[usize::from(at)] = byte;
            if lasting && register.memory == Kind::Eeprom {
                self.eeprom[usize::from(at)] = byte;
            }
        }
    }

    /// Stores `value`, and keeps it.
    pub(super) fn set_for_good(&mut self, register: &Register, value: i32) {
        self.set(register, value);
        self.keep(register);
    }

    /// Keeps a register's bytes as they are now.
    pub(super) fn keep(&mut self, register: &Register) {
        let range = usize::from(register.address)..usize::from(register.end());
        self.eeprom[range.clone()].copy_from_slice(&self.bytes[range]);
    }

    pub(super) fn get(&self, register: &Register) -> i32 {
        let at = usize::from(register.address);
        register.decode(&self.bytes[at..at + usize::from(register.size)]).unwrap_or(0)
    }

    /// Stores the nearest value that the register holds, whatever its access and range.
    pub(super) fn set(&mut self, register: &Register, value: i32) {
        let (min, max) = Register { range: None, ..*register }.bounds();
        if let Ok(bytes) = (Register { range: None, ..*register }).encode(value.clamp(min, max)) {
            let at = usize::from(register.address);
            self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
}
