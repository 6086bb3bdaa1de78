//! In how many training rows each level of the crossed columns occurs: what ingest counts of stored columns, and what scales,
//! penalties of standardised columns and the bounds of sums need.
//!
//! One scan before the first pass, over the codes of the columns that are crossed and nothing else. Counts are integers, so the
//! order of rows, threads and ranks cannot be seen. Cost: 8 bytes a level and worker, some nanoseconds a row and cross.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::{Layout, Split};
use gristmill_io::statistics::Statistics;
use gristmill_io::tiles::{Pick, StreamOptions};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_kernels::Kernels;
use gristmill_kernels::tile::{Block, Grain};

use super::setup;
use super::shares::{Needs, Shares};
use crate::error::{Error, Result};
use crate::machine;
use crate::plan::TrainPlan;
use crate::ranks;
use crate::train::Company;

/// Rows whose codes are made at a time.
const ROWS: usize = 1_024;

/// Statistics of all training rows, those of crossed columns among them. Collective where there are crosses.
///
/// # Errors
/// When the dataset has other crosses than the plan, cannot be read, a rank is lost, or the scan is interrupted: there is nothing to
/// keep yet.
pub fn statistics(
    dataset: &Dataset,
    plan: &TrainPlan,
    company: &Company<'_>,
    own_grains: &[usize],
) -> Result<Statistics> {
    let comm = company.comm;
    let statistics = ranks::agree(comm, checked(dataset, plan))?;
    let columns = &dataset.manifest().columns;
    let layout = Layout::of(columns, |_| true);
    let is_crossed =
        |columns: &[usize]| columns.iter().any(|&number| dataset.manifest().columns[number].kind.is_crossed());
    let Some(first) = layout.blocks.iter().find(|block| is_crossed(&block.columns)) else { return Ok(statistics) };
    let mut counts = ranks::agree(comm, counted(dataset, plan, own_grains, company.cancel))?;
    comm.all_reduce_vec(&mut counts)?;
    let mut statistics = statistics;
    let counts: Vec<u64> = counts.into_iter().map(i64::cast_unsigned).collect();
    statistics.insert_levels(first.first_parameter, &counts);
    Ok(statistics)
}

/// What ingest found, of the dataset that the plan speaks of.
fn checked(dataset: &Dataset, plan: &TrainPlan) -> Result<Statistics> {
    let has = dataset.crosses().count();
    if has != plan.cross.len() {
        return Err(Error::usage(format!(
            "the dataset was opened with {has} crossed columns, and the plan has {}. Open it with those of the plan",
            plan.cross.len()
        )));
    }
    Ok(dataset.statistics()?)
}

/// The counts of this rank's rows, cross after cross.
fn counted(dataset: &Dataset, plan: &TrainPlan, own_grains: &[usize], cancel: &Cancel) -> Result<Vec<i64>> {
    let threads = machine::threads(plan.threads);
    let mut options = StreamOptions::new(Split::Train);
    options.columns = Some(dataset.crosses().collect());
    (options.label, options.weight, options.offset) = (false, false, false);
    options.grains = Some(own_grains.to_vec());
    options.threads = threads;
    let needs = Needs { threads, joint: 1, against: 1, wide: true };
    options.budget_bytes = Shares::new(dataset, plan, &needs).passes_bytes;
    options.io = plan.io;
    let stream = dataset.stream(options)?;
    let parameters = stream.layout().parameters;
    let kernels = Kernels::<f32>::new(setup::tier(plan)?);
    let mut workers: Vec<(Vec<i64>, Vec<u32>)> = vec![(vec![0; parameters], vec![0; ROWS]); threads];
    stream.scan(&mut workers, Pick::All, cancel, &Silent, |(counts, codes), _, grain| {
        count(&kernels, grain, counts, codes);
        Ok::<(), Error>(())
    })?;
    let mut workers = workers.into_iter().map(|(counts, _)| counts);
    let mut sum = workers.next().unwrap_or_default();
    for counts in workers {
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    Ok(sum)
}

fn count(kernels: &Kernels<f32>, grain: &Grain<'_>, mut counts: &mut [i64], codes: &mut [u32]) {
    for block in &grain.blocks {
        let Block::Crossed(cross) = block else { continue };
        let (own, rest) = counts.split_at_mut(cross.levels);
        for start in (0..grain.rows).step_by(ROWS) {
            let rows = start..grain.rows.min(start + ROWS);
            let codes = &mut codes[..rows.len()];
            kernels.cross(cross, rows, codes);
            codes.iter().for_each(|&code| own[code as usize] += 1);
        }
        counts = rest;
    }
}
