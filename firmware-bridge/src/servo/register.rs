//! What the bytes of a servo's registers mean.

/// Who may change a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The servo alone.
    Read,
    /// The controller, too.
    ReadWrite,
}

/// What becomes of a register without power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It is kept. Feetech keeps what is written while register 55 is 0, Dynamixel takes it while the torque is off.
    Eeprom,
    /// It starts at its default.
    Ram,
}

/// How a negative number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Not at all.
    Unsigned,
    /// As its magnitude, with this bit set; higher bits mean nothing.
    Magnitude(u8),
    /// As two's complement.
    Twos,
}

/// What one count is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Size of a count in `unit`.
    pub factor: f32,
    /// SI unit, `°C`, or empty for a number that is no quantity.
    pub unit: &'static str,
}

impl Scale {
    /// A code, a flag, a gain.
    pub const NONE: Self = Self { factor: 1.0, unit: "" };
}

/// Constants of type [`Register`], a line each.
macro_rules! registers {
    ($($constant:ident $name:literal $address:literal $size:literal $access:ident $memory:ident
        $default:expr, $range:expr, $sign:expr, $scale:ident;)*) => {$(
        #[doc = concat!("Address ", $address, ": ", $name, ".")]
        pub const $constant: Register = Register {
            name: $name,
            address: $address,
            size: $size,
            access: $access,
            memory: $memory,
            default: $default,
            range: $range,
            sign: $sign,
            scale: $scale,
        };
    )*};
}
pub(super) use registers;

/// One register of a servo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Register {
    /// The vendor's name, in small letters.
    pub name: &'static str,
    /// Address of its first byte.
    pub address: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// Who may change it.
    pub access: Access,
    /// What becomes of it without power.
    pub memory: Memory,
    /// Value at delivery (EEPROM) or at power-on (RAM); `None` where the vendor gives none.
    pub default: Option<i32>,
    /// Smallest and largest value that may be written; `None` where the vendor gives none.
    pub range: Option<(i32, i32)>,
    /// How negative values are stored.
    pub sign: Sign,
    /// What a count is.
    pub scale: Scale,
}

/// Why a value is not one of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The value is not one that may be stored.
    #[error("{value} is not within {min}..={max} of the register {name}; nothing is stored, as it would wrap")]
    Range {
        /// The register.
        name: &'static str,
        /// What was to be stored, counts.
        value: i32,
        /// Smallest.
        min: i32,
        /// Largest.
        max: i32,
    },
    /// Too few or too many bytes.
    #[error("{found} bytes for the register {name}, which has {expected}")]
    Size {
        /// The register.
        name: &'static str,
        /// Its bytes.
        expected: u8,
        /// Bytes at hand.
        found: usize,
    },
}

impl Register {
    /// The bytes that store `value`, a number of counts.
    ///
    /// # Errors
    /// [`RegisterError::Range`] for a value outside of [`range`](Self::range), or that the register cannot hold.
    pub fn encode(&self, value: i32) -> Result<heapless::Vec<u8, 4>, RegisterError> {
        let (min, max) = self.bounds();
        if !(min..=max).contains(&value) {
            return Err(RegisterError::Range { name: self.name, value, min, max });
        }
        let bits = match self.sign {
            Sign::Magnitude(bit) if value < 0 => value.unsigned_abs() | 1 << bit,
            _ => value.cast_unsigned(),
        };
        Ok(bits.to_le_bytes().into_iter().take(usize::from(self.size)).collect())
    }

    /// The number of counts that `bytes` store, whether or not it may be written.
    ///
    /// # Errors
    /// [`RegisterError::Size`].
    pub fn decode(&self, bytes: &[u8]) -> Result<i32, RegisterError> {
        let wrong = RegisterError::Size { name: self.name, expected: self.size, found: bytes.len() };
        if bytes.len() != usize::from(self.size) {
            return Err(wrong);
        }
        let bits = match *bytes {
            [a] => u32::from(a),
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => return Err(wrong),
        };
        Ok(match (self.sign, self.size) {
            (Sign::Magnitude(bit), _) => {
                let magnitude = (bits & ((1 << bit) - 1)).cast_signed();
                if bits >> bit & 1 == 1 { -magnitude } else { magnitude }
            }
            (Sign::Twos, 1) => i32::from((bits as u8).cast_signed()),
            (Sign::Twos, 2) => i32::from((bits as u16).cast_signed()),
            _ => bits.cast_signed(),
        })
    }

    /// Smallest and largest value that may be stored, counts.
    #[must_use]
    pub const fn bounds(&self) -> (i32, i32) {
        if let Some(range) = self.range {
            return range;
        }
        match (self.sign, self.size) {
            (Sign::Magnitude(bit), _) => (-((1 << bit) - 1), (1 << bit) - 1),
            (Sign::Unsigned, 1) => (0, u8::MAX as i32),
            (Sign::Unsigned, 2) => (0, u16::MAX as i32),
            (Sign::Unsigned, _) => (0, i32::MAX),
            (Sign::Twos, 1) => (i8::MIN as i32, i8::MAX as i32),
            (Sign::Twos, 2) => (i16::MIN as i32, i16::MAX as i32),
            (Sign::Twos, _) => (i32::MIN, i32::MAX),
        }
    }

    /// Counts as a quantity in [`Scale::unit`].
    #[must_use]
    pub fn quantity(&self, counts: i32) -> f32 {
        counts as f32 * self.scale.factor
    }

    /// The nearest number of counts to a quantity in [`Scale::unit`]; saturates, and takes NaN for 0.
    #[must_use]
    pub fn counts(&self, quantity: f32) -> i32 {
        let counts = quantity / self.scale.factor;
        (counts + 0.5_f32.copysign(counts)) as i32
    }

    /// The same register with another default.
    #[must_use]
    pub(super) const fn with(self, default: i32) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The same register with another range.
    #[must_use]
    pub(super) const fn within(self, min: i32, max: i32) -> Self {
        Self { range: Some((min, max)), ..self }
    }

    /// Address behind the last byte.
    #[must_use]
    pub const fn end(&self) -> u16 {
        self.address + self.size as u16
    }
}
