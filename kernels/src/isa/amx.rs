//! Products of matrices of bytes with AMX: `tdpbusd` and `tdpbsud` add 16,384 products to 256 sums.
//!
//! The tile registers of the instruction set hold sixteen lines of 64 bytes each; they are called matrices here. The system has to be
//! asked once for leave to use them (Linux, `arch_prctl(2)`), and a thread sets their shape before it works with them.

#[cfg(test)]
mod tests;

use super::avx512::Avx512;
use super::bytes::{Line, STRIP};
use super::even::Even;
use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Lines of a matrix; sums of a product in a row.
pub const SIDE: usize = 16;

/// Sums of a product of matrices: row after row.
pub type Sums = [[i32; SIDE]; SIDE];

/// Proves AMX for bytes, and AVX-512.
#[derive(Clone, Copy, Debug)]
pub struct Amx(());

/// The shape of the registers, as `ldtilecfg` reads it (Intel SDM, volume 1, section 18.3.2): palette 1, and for each of
/// eight registers 64 bytes a row at byte 16 on and sixteen rows at byte 48 on.
#[repr(align(64))]
struct Shape([u8; 64]);

static SHAPE: Shape = {
    let mut shape = [0; 64];
    shape[0] = 1;
    let mut register = 0;
    while register < 8 {
        shape[16 + 2 * register] = 64;
        shape[48 + register] = SIDE as u8;
        register += 1;
    }
    Shape(shape)
};

impl Amx {
    /// The token, if processor and system have it.
    pub fn detect() -> Option<Amx> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND.get_or_init(|| has_instructions() && is_permitted()).then_some(Amx(()))
    }

    /// Sets the shape of this thread's registers, until the guard is dropped.
    pub fn start(self) -> Matrices {
        // SAFETY: the token proves the instruction; the shape is 64 bytes and a valid one.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPE.0, options(nostack, preserves_flags)) };
        Matrices(PhantomData)
    }
}

fn has_instructions() -> bool {
    <Avx512 as super::Isa>::detect().is_some() && __cpuid(0).eax >= 7 && {
        let leaf = __cpuid_count(7, 0);
        let (tiles, bytes) = (leaf.edx >> 24 & 1, leaf.edx >> 25 & 1);
        // SAFETY: a processor with AVX-512 that the system uses has XGETBV.
        tiles & bytes == 1 && unsafe { enabled() } & 0x6_0000 == 0x6_0000
    }
}

/// The registers that the system saves: bits 17 and 18 are AMX.
#[target_feature(enable = "xsave")]
fn enabled() -> u64 {
    // SAFETY: register 0 exists where the instruction does.
    unsafe { _xgetbv(0) }
}

#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call touches no memory of ours; it clobbers the two registers named.
    unsafe {
        asm!(
            "syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _, lateout("r11") _, options(nostack, nomem),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Bytes that matrices lie in: line `r` of matrix `m` at step `s` begins `s * step + m * matrix + r * line` bytes behind the first.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    first: usize,
    step: usize,
    matrix: usize,
    line: usize,
    bytes: PhantomData<&'a [u8]>,
    steps: usize,
}

impl<'a> Place<'a> {
    /// Two matrices at each of `steps` among lines; strides are counted in lines. None when lines are missing.
    pub fn among(lines: &'a [Line], steps: usize, [step, matrix, line]: [usize; 3]) -> Option<Place<'a>> {
        let last = steps.checked_sub(1)? * step + matrix + (SIDE - 1) * line;
        let bytes = size_of::<Line>();
        (last < lines.len()).then(|| Place {
            first: lines.as_ptr().expose_provenance(),
            step: step * bytes,
            matrix: matrix * bytes,
            line: line * bytes,
            bytes: PhantomData,
            steps,
        })
    }

    /// Two matrices whose lines are 64 rows each of twice sixteen columns from `column` on, from row `row` on. None unless the
    /// columns are there and have all the rows.
    pub fn of_columns(columns: Even<'a>, column: usize, row: usize, steps: usize) -> Option<Place<'a>> {
        let (first, line) = columns.place((column, 2 * SIDE), (row, steps * LINE))?;
        (steps > 0).then_some(Place { first, step: LINE, matrix: SIDE * line, line, bytes: PhantomData, steps })
    }
}

/// Bytes of a line.
const LINE: usize = size_of::<Line>();

/// A thread whose registers have their shape.
#[derive(Debug)]
pub struct Matrices(PhantomData<*const ()>);

impl Drop for Matrices {
    fn drop(&mut self) {
        // SAFETY: a guard exists only where the instruction does.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

macro_rules! add_products {
    ($name:ident, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Adds to four products, which registers hold until they are cleared, those of two matrices `a` with two matrices `b` at all steps:
        /// first with first, first with second, second with first, second with second. Row `i` of a product belongs to line `i` of `a`, and
        /// number `j` in it to the bytes `4 j .. 4 j + 4` of all lines of `b`: `sum_kl a[i][4 k + l] b[k][4 j + l]`.
        ///
        /// # Panics
        /// When the places differ in steps.
        #[inline(always)]
        pub fn $name(&self, a: Place<'_>, b: Place<'_>) {
            assert_eq!(a.steps, b.steps, "as many matrices on both sides");
            // SAFETY: the guard proves the instructions and the registers' shape; a place has at least one step, and all its bytes may
            // be read.
            unsafe {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{a} + {a_line}]",
                    "tileloadd tmm6, [{b} + {b_line}]",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{b_two} + {b_line}]",
                    concat!($instruction, " tmm1, tmm4, tmm7"),
                    "tileloadd tmm5, [{a_two} + {a_line}]",
                    concat!($instruction, " tmm2, tmm5, tmm6"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "add {a}, {a_step}", "add {a_two}, {a_step}",
                    "add {b}, {b_step}", "add {b_two}, {b_step}",
                    "dec {steps}",
                    "jnz 2b",
                    a = inout(reg) a.first => _, a_two = inout(reg) a.first + a.matrix => _,
                    b = inout(reg) b.first => _, b_two = inout(reg) b.first + b.matrix => _,
                    a_line = in(reg) a.line, b_line = in(reg) b.line, a_step = in(reg) a.step, b_step = in(reg) b.step,
                    steps = inout(reg) a.steps => _,
                    options(nostack, readonly),
                );
            }
        }
    };
}

impl Matrices {
    /// The four products become zero.
    #[inline(always)]
    pub fn clear(&self) {
        // SAFETY: the guard proves the instructions and the registers' shape.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem, preserves_flags),
            );
        }
    }

    add_products!(add_unsigned_by_signed, "tdpbusd", "Bytes of `a` are without sign, those of `b` have one.");
    add_products!(add_signed_by_unsigned, "tdpbsud", "Bytes of `a` have a sign, those of `b` are without.");

    /// Stores the four products, one behind the other.
    #[inline(always)]
    pub fn store_apart(&self, products: &mut [Sums; 4]) {
        // SAFETY: the guard proves the instructions and the registers' shape; each store writes the sixteen rows of 64 bytes of a product.
        unsafe {
            asm!(
                "tilestored [{first} + {pitch}], tmm0",
                "tilestored [{first} + {pitch} + 1024], tmm1",
                "tilestored [{first} + {pitch} + 2048], tmm2",
                "tilestored [{first} + {pitch} + 3072], tmm3",
                first = in(reg) products.as_mut_ptr(), pitch = in(reg) LINE,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Stores the four products: number `j` of row `i` of product `2 p + q` as number `first + 16 q + j` of line `16 p + i`.
    ///
    /// # Panics
    /// When there are fewer than 32 lines, or numbers from `first` on.
    #[inline(always)]
    pub fn store(&self, lines: &mut [[i32; STRIP]], first: usize) {
        assert!(lines.len() >= 2 * SIDE && first + 2 * SIDE <= STRIP, "room for four products");
        let pitch = size_of::<[i32; STRIP]>();
        let first = lines.as_flattened_mut()[first..].as_mut_ptr();
        // SAFETY: the guard proves the instructions and the registers' shape; each store writes sixteen rows of 64 bytes, whose places
        // are in the lines, as asserted: the second product beside the first, the two others sixteen lines behind these.
        unsafe {
            asm!(
                "tilestored [{first} + {pitch}], tmm0",
                "tilestored [{first} + {pitch} + 64], tmm1",
                "tilestored [{other} + {pitch}], tmm2",
                "tilestored [{other} + {pitch} + 64], tmm3",
                first = in(reg) first, other = in(reg) first.byte_add(SIDE * pitch), pitch = in(reg) pitch,
                options(nostack, preserves_flags),
            );
        }
    }
}

impl Matrices {
    /// Number `j` of row `i` becomes number `first + i` of line `j`.
    ///
    /// # Panics
    /// When there are fewer than sixteen lines, or numbers from `first` on.
    #[inline(always)]
    pub fn transpose(&self, rows: &Sums, lines: &mut [[i32; STRIP]], first: usize) {
        assert!(lines.len() >= SIDE && first + SIDE <= STRIP, "room for sixteen by sixteen numbers");
        let to = lines.as_flattened_mut()[first..].as_mut_ptr().cast();
        // SAFETY: rows hold 64 bytes each, one behind the other; so do the places in the lines, as asserted.
        unsafe { self.turn_rows((rows.as_ptr().cast(), LINE), (to, STRIP * size_of::<i32>())) };
    }

    /// The same of four bytes each, in place.
    #[inline(always)]
    pub fn turn(&self, lines: &mut [Line; SIDE]) {
        let bytes: *mut u8 = lines.as_mut_ptr().cast();
        // SAFETY: lines hold 64 bytes each, one behind the other; all are read before the first is written.
        unsafe { self.turn_rows((bytes, LINE), (bytes, LINE)) };
    }

    /// # Safety
    /// From sixteen places, so many bytes apart, 64 bytes may be read, and to sixteen others written.
    #[inline(always)]
    unsafe fn turn_rows(&self, (rows, row_bytes): (*const u8, usize), (to, to_bytes): (*mut u8, usize)) {
        // SAFETY: the guard proves AVX-512; what is read and written is the caller's promise, at any alignment.
        unsafe {
            let mut r = [_mm512_setzero_si512(); SIDE];
            for (number, r) in r.iter_mut().enumerate() {
                *r = _mm512_loadu_si512(rows.add(number * row_bytes).cast());
            }
            // Pairs, then fours of rows inside the four parts of registers.
            let mut pairs = r;
            for i in 0..SIDE / 2 {
                pairs[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
            }
            let mut fours = pairs;
            for i in 0..SIDE / 4 {
                for half in 0..2 {
                    let (low, high) = (pairs[4 * i + half], pairs[4 * i + half + 2]);
                    fours[4 * i + 2 * half] = _mm512_unpacklo_epi64(low, high);
                    fours[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(low, high);
                }
            }
            // `fours[4 i + k]`, part `p`: column `4 p + k` of rows `4 i ..`.
            for k in 0..4 {
                let low = _mm512_shuffle_i32x4::<0x44>(fours[k], fours[4 + k]);
                let high = _mm512_shuffle_i32x4::<0xee>(fours[k], fours[4 + k]);
                let low_rest = _mm512_shuffle_i32x4::<0x44>(fours[8 + k], fours[12 + k]);
                let high_rest = _mm512_shuffle_i32x4::<0xee>(fours[8 + k], fours[12 + k]);
                let columns = [
                    _mm512_shuffle_i32x4::<0x88>(low, low_rest),
                    _mm512_shuffle_i32x4::<0xdd>(low, low_rest),
                    _mm512_shuffle_i32x4::<0x88>(high, high_rest),
                    _mm512_shuffle_i32x4::<0xdd>(high, high_rest),
                ];
                for (part, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_si512(to.add((4 * part + k) * to_bytes).cast(), column);
                }
            }
        }
    }
}
