//! Storage types: how a number of a column lies in a shard.

pub use half::{bf16, f16};

/// The storage type of a numeric column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// 64-bit IEEE 754.
    F64,
    /// 32-bit IEEE 754, the default for real columns.
    F32,
    /// 16-bit IEEE 754 (11 bits of precision).
    F16,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
}

impl DType {
    /// All storage types, in the order in which a row's blocks are laid out.
    pub const ALL: [DType; 5] = [DType::F64, DType::F32, DType::F16, DType::U16, DType::U8];

    /// Bytes of one value.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 => 4,
            DType::F16 | DType::U16 => 2,
            DType::U8 => 1,
        }
    }

    /// The name used in flags, manifests and tables.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U16 => "u16",
            DType::U8 => "u8",
        }
    }

    /// The storage type of that name.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }
}

/// A value of a numeric column.
pub trait Element: Copy + Send + Sync + 'static {
    /// Its storage type.
    const DTYPE: DType;
    /// The value as `f64`, exact for every storage type.
    fn to_f64(self) -> f64;
}

macro_rules! element {
    ($type:ty, $dtype:ident, $value:ident => $to_f64:expr) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            fn to_f64(self) -> f64 {
                let $value = self;
                $to_f64
            }
        }
    };
}
element!(f64, F64, value => value);
element!(f32, F32, value => f64::from(value));
element!(f16, F16, value => f64::from(value));
element!(u16, U16, value => f64::from(value));
element!(u8, U8, value => f64::from(value));
