//! Numbers that can travel: their bytes (little-endian) in a message, and sums straight on those bytes.
//!
//! Fixed-size byte arrays and plain loops: the compiler makes copies and vector additions of them.

/// An element of a slice that is summed over ranks.
pub trait Element: Copy + Send + Sync + 'static {
    /// Bytes of one element.
    const BYTES: usize;

    /// Writes `values` to `message`, which has `values.len() * BYTES` bytes.
    fn encode(values: &[Self], message: &mut [u8]);

    /// Reads `message` into `values`.
    fn decode(message: &[u8], values: &mut [Self]);

    /// `values[i] = add(message[i], values[i])`.
    fn fold_in(message: &[u8], values: &mut [Self], add: impl Fn(Self, Self) -> Self);

    /// `message[i] = add(message[i], values[i])`.
    fn fold_onto(message: &mut [u8], values: &[Self], add: impl Fn(Self, Self) -> Self);

    /// Both at once: `message[i] = values[i] = add(message[i], values[i])`.
    fn fold_both(message: &mut [u8], values: &mut [Self], add: impl Fn(Self, Self) -> Self);
}

macro_rules! element {
    ($number:ty, $bytes:literal) => {
        impl Element for $number {
            const BYTES: usize = $bytes;

            fn encode(values: &[Self], message: &mut [u8]) {
                for (bytes, value) in message.as_chunks_mut::<$bytes>().0.iter_mut().zip(values) {
                    *bytes = value.to_le_bytes();
                }
            }

            fn decode(message: &[u8], values: &mut [Self]) {
                for (bytes, value) in message.as_chunks::<$bytes>().0.iter().zip(values) {
                    *value = Self::from_le_bytes(*bytes);
                }
            }

            fn fold_in(message: &[u8], values: &mut [Self], add: impl Fn(Self, Self) -> Self) {
                for (bytes, value) in message.as_chunks::<$bytes>().0.iter().zip(values) {
                    *value = add(Self::from_le_bytes(*bytes), *value);
                }
            }

            fn fold_onto(message: &mut [u8], values: &[Self], add: impl Fn(Self, Self) -> Self) {
                for (bytes, value) in message.as_chunks_mut::<$bytes>().0.iter_mut().zip(values) {
                    *bytes = add(Self::from_le_bytes(*bytes), *value).to_le_bytes();
                }
            }

            fn fold_both(message: &mut [u8], values: &mut [Self], add: impl Fn(Self, Self) -> Self) {
                for (bytes, value) in message.as_chunks_mut::<$bytes>().0.iter_mut().zip(values) {
                    *value = add(Self::from_le_bytes(*bytes), *value);
                    *bytes = value.to_le_bytes();
                }
            }
        }
    };
}

element!(i64, 8);
element!(f64, 8);
element!(f32, 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_on_bytes_are_sums_of_numbers() {
        let (ours, theirs) = ([1_i64, -2, i64::MAX], [10_i64, 20, 1]);
        let mut message = vec![0; 24];
        i64::encode(&theirs, &mut message);
        let mut sum = ours;
        i64::fold_in(&message, &mut sum, i64::wrapping_add);
        assert_eq!(sum, [11, 18, i64::MIN]);
        i64::fold_onto(&mut message, &ours, i64::wrapping_add);
        let mut read = [0; 3];
        i64::decode(&message, &mut read);
        assert_eq!(read, sum);
        i64::encode(&theirs, &mut message);
        let mut sum = ours;
        i64::fold_both(&mut message, &mut sum, i64::wrapping_add);
        i64::decode(&message, &mut read);
        assert_eq!([read, sum], [[11, 18, i64::MIN]; 2]);
    }

    #[test]
    fn the_message_stands_left_of_the_addition() {
        let mut message = vec![0; 4];
        f32::encode(&[3.0], &mut message);
        let mut value = [1.0_f32];
        f32::fold_in(&message, &mut value, |from_message, own| from_message - own);
        assert_eq!(value, [2.0]);
    }
}
