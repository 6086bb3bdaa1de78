//! Every way of multiplying bytes that this machine has gives the same bits, also those that it would not choose.

use super::columns::Margins;
use super::rows::Gradient;
use super::{Amx, Scratch};
use crate::isa::bytes::Bytes;
use crate::isa::portable::Portable;

/// Rows, columns, vectors: parts of strips and quads, matrices of one and of two blocks of entries.
const SHAPES: [[usize; 3]; 6] = [[1, 1, 1], [70, 5, 2], [200, 37, 3], [129, 100, 12], [513, 64, 7], [190, 270, 3]];

/// Margins and gradients of every shape, in bits.
fn bits<B: Bytes>(bytes: B, amx: Option<Amx>) -> Vec<u64> {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut all = Vec::new();
    for ([rows, width, vectors], even) in SHAPES.into_iter().flat_map(|shape| [(shape, true), (shape, false)]) {
        let data: Vec<u8> = (0..(rows + 3) * width).map(|_| random() as u8).collect();
        let mut columns: Vec<&[u8]> = data.chunks(rows + 3).collect();
        if !even {
            columns.swap(0, width / 2);
        }
        // Of every third vector most numbers are small: it takes 32 bits.
        let mut numbers = |count: usize, vector: usize| {
            let size = move |at: usize| if vector % 3 == 1 && at > 0 { 1e-5 } else { 1.0 };
            (0..count).map(|at| (random() as f32 / 1e9 - 1.0) * size(at)).collect::<Vec<_>>()
        };
        let w: Vec<f32> = (0..vectors).flat_map(|vector| numbers(width, vector)).collect();
        let r: Vec<f32> = (0..vectors).flat_map(|vector| numbers(rows, vector)).collect();
        let (mut z, mut g) = (vec![0.5; vectors * rows], vec![0.25; vectors * width]);
        let scratch = &mut Scratch::default();
        let rows = 2..rows + 2;
        bytes.enter(Margins { columns: &columns, rows: rows.clone(), w: &w, z: &mut z, scratch, amx });
        bytes.enter(Gradient { columns: &columns, rows, r: &r, g: &mut g, scratch, amx });
        all.extend(z.iter().map(|z| u64::from(z.to_bits())));
        all.extend(g.iter().map(|g| g.to_bits()));
    }
    all
}

#[test]
fn every_way_gives_the_same_bits() {
    let want = bits(Portable::new(), None);
    #[cfg(target_arch = "x86_64")]
    those_of_x86(&want);
    #[cfg(not(target_arch = "x86_64"))]
    println!("skipped: there is no other way here than that of {} numbers", want.len());
}

#[cfg(target_arch = "x86_64")]
fn those_of_x86(want: &[u64]) {
    use crate::isa::Isa;
    use crate::isa::avx2::Avx2;
    use crate::isa::vnni::{NarrowVnni, Vnni};
    match <Avx2 as Isa>::detect() {
        Some(avx2) => assert!(bits(avx2, None) == want, "AVX2"),
        None => println!("skipped: no AVX2 here"),
    }
    match NarrowVnni::detect() {
        Some(vnni) => assert!(bits(vnni, None) == want, "AVX-VNNI"),
        None => println!("skipped: no AVX-VNNI here"),
    }
    match Vnni::detect() {
        Some(vnni) => assert!(bits(vnni, None) == want, "AVX-512 VNNI"),
        None => println!("skipped: no AVX-512 VNNI here"),
    }
    match Vnni::detect().zip(Amx::detect()) {
        Some((vnni, amx)) => assert!(bits(vnni, Some(amx)) == want, "AMX"),
        None => println!("skipped: no AMX here"),
    }
}

/// What is remembered of weight vectors is that of these weights, columns and instructions.
#[test]
fn remembered_weights_are_the_right_ones() {
    let data: Vec<u8> = (0..64 * 8).map(|at| (at * 37 % 251) as u8).collect();
    let columns: Vec<&[u8]> = data.chunks(64).collect();
    let mut scratch = Scratch::default();
    for turn in 0..40_usize {
        let width = 4 + turn % 3 * 2;
        let w: Vec<f32> = (0..width).map(|j| (turn % 11 * width + j) as f32).collect();
        let mut z = vec![0.0; 64];
        let (columns, rows) = (&columns[..width], 0..64);
        Portable::new().enter(Margins { columns, rows, w: &w, z: &mut z, scratch: &mut scratch, amx: None });
        for (row, z) in z.iter().enumerate() {
            let want: f32 = columns.iter().zip(&w).map(|(x, w)| f32::from(x[row]) * w).sum();
            assert!((z - want).abs() <= want.abs() * 1e-6, "turn {turn}, row {row}: {z}, expected {want}");
        }
    }
}
