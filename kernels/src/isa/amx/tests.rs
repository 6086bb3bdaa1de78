//! Products of matrices, and rows turned to columns, against plain loops.

use super::*;

#[test]
fn rows_become_columns() {
    let Some(amx) = Amx::detect() else { return println!("skipped: no AMX here") };
    let rows: Sums = std::array::from_fn(|i| std::array::from_fn(|j| (100 * i + j) as i32));
    let mut lines = vec![[7; STRIP]; SIDE + 1];
    amx.start().transpose(&rows, &mut lines[1..], 48);
    for (j, line) in lines[1..].iter().enumerate() {
        assert_eq!(line[48..], std::array::from_fn::<i32, SIDE, _>(|i| rows[i][j]));
        assert_eq!(line[..48], [7; 48]);
    }
}

#[test]
fn products_are_those_of_plain_loops() {
    let Some(amx) = Amx::detect() else { return println!("skipped: no AMX here") };
    let matrices = amx.start();
    let line = |seed: usize| Line(std::array::from_fn(|at| (((seed * 64 + at) * 2_654_435_761) >> 13) as u8));
    let (a, b): (Vec<Line>, Vec<Line>) = ((0..100).map(line).collect(), (200..400).map(line).collect());
    for steps in 1..=3 {
        let place = |lines, strides| Place::among(lines, steps, strides).expect("lines enough");
        let (of_a, of_b) = (place(&a, [32, 16, 1]), place(&b, [64, 1, 4]));
        assert!(Place::among(&a, steps, [40, 16, 100]).is_none() && Place::among(&a, 0, [32, 16, 1]).is_none());
        for signed_a in [false, true] {
            matrices.clear();
            if signed_a {
                matrices.add_signed_by_unsigned(of_a, of_b);
            } else {
                matrices.add_unsigned_by_signed(of_a, of_b);
            }
            let (mut sums, mut lines) = ([[[7; SIDE]; SIDE]; 4], vec![[7; STRIP]; 2 * SIDE]);
            matrices.store_apart(&mut sums);
            matrices.store(&mut lines, 16);
            let number = |byte: u8, signed: bool| if signed { i32::from(byte as i8) } else { i32::from(byte) };
            for (place, (i, j)) in (0..4).flat_map(|p| (0..SIDE).flat_map(move |i| (0..SIDE).map(move |j| (p, (i, j)))))
            {
                let mut want = 0;
                for (step, k, l) in (0..steps).flat_map(|s| (0..SIDE).flat_map(move |k| (0..4).map(move |l| (s, k, l))))
                {
                    let x = a[step * 32 + place / 2 * 16 + i].0[4 * k + l];
                    let y = b[step * 64 + place % 2 + k * 4].0[4 * j + l];
                    want += number(x, signed_a) * number(y, !signed_a);
                }
                let of_lines = lines[place / 2 * SIDE + i][16 + place % 2 * SIDE + j];
                assert_eq!(
                    [sums[place][i][j], of_lines],
                    [want; 2],
                    "{steps} steps, product {place}, row {i}, number {j}"
                );
            }
        }
    }
}
