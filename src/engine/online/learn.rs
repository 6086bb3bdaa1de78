//! The course of a stochastic training: epochs of rounds of batches, what is told of them, and where it can stop.
//!
//! A stretch of batches takes about a fifth of a second; then all ranks look whether somebody wants to stop, and the
//! next stretch is sized by how long the last one took. Where stretches end changes no bit. A round's grains are open
//! while the next round's are read. At the end one pass over all rows finds the objective and its gradient.

use std::time::Instant;

use gristmill_io::Error as IoError;
use gristmill_io::manifest::Split;
use gristmill_io::memory;
use gristmill_io::tiles::{OpenGrain, StreamOptions, TileStream};
use gristmill_kernels::Real;
use gristmill_kernels::tile::Grain;

use super::batch::{Model, Place, Seen};
use super::course::{Clock, Course, Record, rates};
use super::feedback::Feedback;
use super::held::HeldOut;
use super::learner::{AddModel, Online, bundles};
use super::order::{Plan, Round};
use crate::engine::drive::{Next, Training, lane};
use crate::engine::iterate::told;
use crate::engine::pass::{Point, Want};
use crate::engine::reduce::Reduced;
use crate::engine::setup::Setup;
use crate::engine::space::Stored;
use crate::engine::tasks::Stand;
use crate::engine::{derive, tasks};
use crate::error::{Error, Result};
use crate::models::Smoothing;
use crate::optim::schedule::Schedule;
use crate::optim::stochastic::{Step, visit};
use crate::optim::{Evaluation, Outcome, Sample};
use crate::plan::SolverName;
use crate::plan::online::OnlinePlan;
use crate::ranks;
use crate::train::{PassReport, PointReport};

/// Seconds of a stretch, about.
const STRETCH_SECONDS: f64 = 0.2;
/// Batches of the first stretch.
const FIRST_STRETCH: usize = 16;

/// What a pass found of a model: loss and gradient, objective and norm of its subgradient.
type Look = (Evaluation, (f64, f64));

/// The open grains of a round.
type Open<'s> = Vec<Option<OpenGrain<'s>>>;

impl<'a, R: Real> Training<'a, R> {
    /// Learns all models of a stochastic solver.
    ///
    /// # Errors
    /// When data cannot be read, a training diverges, or a rank is lost.
    pub(in crate::engine) fn learn(&mut self) -> Result<Next> {
        let plan: &'a crate::plan::TrainPlan = self.plan;
        let Some(online) = &plan.online else { return Ok(Next::GoOn) };
        loop {
            let waiting = |task: &tasks::Task| matches!(task.stand, Stand::Waiting | Stand::Learning(_));
            let numbers: Vec<usize> = (0..self.tasks.len()).filter(|&number| waiting(&self.tasks[number])).collect();
            let learning =
                numbers.iter().filter(|&&number| matches!(self.tasks[number].stand, Stand::Learning(_))).count();
            let together = if learning > 0 { learning } else { self.setup.shares.together.min(numbers.len()) };
            if together == 0 {
                return Ok(Next::GoOn);
            }
            let course = self.course(online, numbers[..together].to_vec());
            let mut course = ranks::agree(self.setup.company.comm, course)?;
            if self.epochs(&mut course)? == Next::Stop || self.settle(&course)? == Next::Stop {
                self.keep(&course)?;
                return Ok(Next::Stop);
            }
        }
    }

    /// The models at their start, or where they were.
    fn course(&self, plan: &'a OnlinePlan, numbers: Vec<usize>) -> Result<Course<'a, R>> {
        let setup = self.setup;
        if setup.dataset.is_local() {
            return Err(Error::usage(format!(
                "solver '{}' draws every batch from the whole dataset, and --local-shards leaves shards on their nodes. Use a \
                 shared file system, or a solver by passes (--solver auto)",
                self.plan.solver.name()
            )));
        }
        let known = &self.known.all;
        let variance = known.square / known.weight - (known.label / known.weight).powi(2);
        let online = Online::new(setup, variance.max(0.0).sqrt(), self.plan.solver == SolverName::Svrg);
        let grains = setup.dataset.grains(Split::Train).iter().map(|grain| grain.rows).collect();
        let widest = online.units.iter().map(|unit| unit.parameters.len() * online.lines).max().unwrap_or(0);
        if u32::try_from(widest).is_err() {
            return Err(Error::usage(format!(
                "a column has {widest} weights in all classes; stochastic solvers number them with 32 bits. Use a solver by \
                 passes (--solver lbfgs)"
            )));
        }
        let order = Plan::new(
            grains,
            plan.open_grains as usize,
            plan.rows_of_batch(setup.statistics.rows, self.plan.solver) as usize,
            self.plan.seed,
        );
        let mut bundles = bundles(&online.units);
        let mut models = Vec::new();
        for &number in &numbers {
            let task = &self.tasks[number];
            let peak = task.strengths.rate.unwrap_or(plan.learning_rate[0]);
            let rates = rates(plan, peak);
            let penalty = online.penalty(&setup.space.penalty(setup.target.strengths(task.strengths)));
            let start = online.from_point(&self.start(task));
            let step = Step { number: 1, rate: rates.at(0.0, 0.0).max(f64::MIN_POSITIVE), rows: 0.0 };
            let add = AddModel { online: &online, bundles: &mut bundles, penalty: &penalty, start: &start, step };
            let Some(sums) = visit(self.plan.solver, plan, add) else {
                return Err(Error::usage(format!(
                    "solver '{}' does not learn batch by batch",
                    self.plan.solver.name()
                )));
            };
            let mean_weight = self.known.of(task.left_out).weight / known.rows as f64;
            models.push(Model { rates, sums, left_out: task.left_out, against: task.against, mean_weight, time: 0.0 });
        }
        let count = numbers.len();
        let units: Vec<usize> = bundles.iter().map(|bundle| bundle.units.len()).collect();
        let feedback = Feedback::new(plan.allreduce_dtype, setup.company.comm.size(), &units, count);
        let mut course = Course {
            online,
            plan,
            order,
            numbers,
            models,
            bundles,
            seen: vec![Seen::default(); count],
            records: vec![Record::default(); count],
            place: Place::default(),
            anchored: false,
            round: 0,
            batch: 0,
            stretch: FIRST_STRETCH,
            weighed: false,
            seconds: 0.0,
            feedback,
            clock: Clock::default(),
        };
        for model in 0..count {
            if let Stand::Learning(state) = &self.tasks[course.numbers[model]].stand {
                course.resume(model, state, setup.company.comm.rank() == 0).ok_or_else(|| {
                    Error::usage(
                        "the checkpoint cannot be resumed: it holds other coordinates than its configuration says",
                    )
                })?;
            }
        }
        Ok(course)
    }

    /// All epochs that are left.
    fn epochs(&mut self, course: &mut Course<'a, R>) -> Result<Next> {
        let setup = self.setup;
        let slots = course.order.own_slots(setup.company.comm.rank(), setup.company.comm.size());
        // One rank may have more slots than another, or less memory.
        let stream = ranks::agree(setup.company.comm, stream(setup, self.plan, &course.order, slots.clone()))?;
        let held_out = match course.plan.patience {
            Some(_) => Some(HeldOut::new(setup, self.plan)?),
            None => None,
        };
        let mut opened: Option<(usize, Open<'_>)> = None;
        while !course.is_over() {
            if course.online.lines > course.online.margins && !course.anchored && self.anchor(course)? == Next::Stop {
                return Ok(Next::Stop);
            }
            let epoch = course.place.epoch as usize;
            let round = course.order.round(epoch, course.round);
            let began = Instant::now();
            let grains = match opened.take() {
                Some((number, grains)) if number == course.round => grains,
                _ => open(&stream, &round, slots.clone())?,
            };
            course.clock.waiting += began.elapsed().as_secs_f64();
            course.clock.read_bytes += grains.iter().flatten().map(OpenGrain::read_bytes).sum::<u64>();
            let following = match course.round + 1 < course.order.rounds() {
                true => Some((epoch, course.round + 1)),
                false => (course.place.epoch + 1 < course.plan.epochs).then_some((epoch + 1, 0)),
            };
            let order = course.order.clone();
            let (ended, next) = std::thread::scope(|scope| {
                let slots = slots.clone();
                let reading = following.map(|(epoch, number)| {
                    let stream = &stream;
                    scope
                        .spawn(move || -> Result<_> { Ok((number, open(stream, &order.round(epoch, number), slots)?)) })
                });
                let ended = self.round(course, &round, &grains, began);
                let waiting = Instant::now();
                let next =
                    reading.map(|reading| reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                course.clock.waiting += waiting.elapsed().as_secs_f64();
                (ended, next)
            });
            if ended? == Next::Stop {
                return Ok(Next::Stop);
            }
            grains.into_iter().flatten().try_for_each(OpenGrain::close)?;
            opened = next.transpose()?;
            (course.round, course.batch) = (course.round + 1, 0);
            let in_time = !course.is_late();
            if course.round == course.order.rounds() || !in_time {
                course.settle();
                self.end_epoch(course, held_out.as_ref(), in_time)?;
            }
        }
        for grain in opened.into_iter().flat_map(|(_, grains)| grains).flatten() {
            grain.close()?;
        }
        Ok(Next::GoOn)
    }

    /// The batches of a round that are left.
    fn round(
        &mut self,
        course: &mut Course<'a, R>,
        round: &Round,
        open: &Open<'_>,
        mut began: Instant,
    ) -> Result<Next> {
        let setup = self.setup;
        let grains: Vec<Option<Grain<'_>>> =
            open.iter().map(|open| Ok(open.as_ref().map(OpenGrain::grain).transpose()?)).collect::<Result<_>>()?;
        while course.batch < round.ends.len() {
            let batches = course.next(setup, round.ends.len());
            let rows: usize = batches.clone().flat_map(|batch| round.batch(batch)).map(|piece| piece.rows.len()).sum();
            course.learn(setup, round, &grains, batches.clone())?;
            open.iter().flatten().try_for_each(OpenGrain::check)?;
            course.count(setup, &batches, rows as u64);
            setup.company.watch.rows(rows as u64 / setup.company.comm.size() as u64);
            let seconds = began.elapsed().as_secs_f64();
            (began, course.clock.seconds) = (Instant::now(), course.clock.seconds + seconds);
            let weighed = course.seen.iter().all(|seen| seen.weight.iter().any(|cell| *cell != 0));
            let wants_stand = setup.company.watch.wants_stand(self.answer.passes());
            let own = Said { stop: setup.company.cancel.requested(), wants_stand, weighed, seconds };
            let all = own.agreed(setup)?;
            course.seconds += all.seconds;
            course.weighed = all.weighed;
            course.stretch = next_stretch(batches.len(), all.seconds);
            if all.stop {
                return Ok(Next::Stop);
            }
            if course.is_late() {
                break;
            }
            if all.wants_stand {
                self.keep(course)?;
                self.stand();
            }
        }
        Ok(Next::GoOn)
    }

    /// Tells of an epoch that is over, or broken off because time is.
    fn end_epoch(&mut self, course: &mut Course<'a, R>, held_out: Option<&HeldOut<'_>>, in_time: bool) -> Result<()> {
        let setup = self.setup;
        for (model, loss) in course.losses(setup)?.into_iter().enumerate() {
            let totals = self.known.of(self.tasks[course.numbers[model]].left_out);
            course.records[model].progressive = loss - totals.saturated / totals.weight;
        }
        let judged = held_out.map(|held_out| held_out.losses::<R>(&self.stored(course))).transpose()?;
        if let (Some(losses), Some(patience)) = (&judged, course.plan.patience) {
            course.judge(losses, patience);
        }
        let unit = setup.target.loss_unit();
        let mut reports = Vec::new();
        for (model, &number) in course.numbers.iter().enumerate() {
            let task = &self.tasks[number];
            let penalty = self.penalty(task.strengths).value(&course.point(model));
            reports.push(PointReport {
                configuration: task.configuration,
                left_out: task.left_out,
                against: task.against,
                collected: "epoch".into(),
                objective: (course.records[model].progressive + penalty) * unit,
                gradient_norm: 0.0,
                held_out: judged.as_ref().map(|losses| losses[model] * unit),
            });
        }
        let share = course.place.rows as f64 / setup.statistics.rows as f64;
        let grains = setup.dataset.grains(Split::Train);
        let clock = std::mem::take(&mut course.clock);
        let multiply_adds = 2.0 * setup.numbers_of_row() * (course.online.lines * reports.len()) as f64;
        let Some(first) = reports.first().cloned() else { return Ok(()) };
        let report = PassReport {
            pass: self.answer.passes() + 1,
            share,
            first,
            points: if reports.len() > 1 { reports } else { Vec::new() },
            rows: course.place.rows,
            bytes: (grains.iter().map(|grain| grain.bytes).sum::<u64>() as f64 * share) as u64,
            seconds: clock.seconds,
            waiting_seconds: clock.waiting.min(clock.seconds),
            reading_seconds: 0.0,
            computing_seconds: (clock.seconds - clock.waiting).max(0.0),
            reducing_seconds: 0.0,
            overlapped_seconds: 0.0,
            read_bytes: clock.read_bytes,
            multiply_adds: course.place.rows as f64 * multiply_adds,
        };
        for &number in &course.numbers {
            self.tasks[number].passes += 1;
        }
        if !in_time {
            let epochs = f64::from(course.place.epoch) + share;
            for record in course.records.iter_mut().filter(|record| record.stopped.is_none()) {
                record.stopped = Some(format!("time limit after {epochs:.2} epochs"));
            }
        }
        course.place = Place { steps: course.place.steps, epoch: course.place.epoch + 1, rows: 0 };
        course.anchored = false;
        (course.round, course.batch) = (0, 0);
        setup.company.watch.pass(&report);
        self.answer.count(report);
        Ok(())
    }

    /// Where the models are, in stored space margin after margin, with the class that each tells from all others.
    fn stored(&self, course: &Course<'a, R>) -> Vec<(Vec<Stored>, Option<u16>)> {
        let round = |weight: f64| R::from_f64(weight).to_f64();
        let stored = |(model, number): (usize, &usize)| {
            (self.setup.to_stored(&course.point(model), round), self.tasks[*number].against)
        };
        course.numbers.iter().enumerate().map(stored).collect()
    }

    /// The end: a solver that goes on by passes, or one pass for objective and gradient where the models ended, unless the progressive
    /// loss is to do.
    fn settle(&mut self, course: &Course<'a, R>) -> Result<Next> {
        let ends: Vec<Vec<f64>> = (0..course.numbers.len()).map(|model| course.end(model)).collect();
        if course.plan.then.is_some() {
            for (&number, end) in course.numbers.iter().zip(ends) {
                self.tasks[number].rounding = self.first_rounding(&self.tasks[number]);
                let machine = self.machine_at(&self.tasks[number], end, Schedule::whole());
                let machine = machine.map_err(|error| self.of_all(error))?;
                self.tasks[number].stand = Stand::Running(Box::new(machine));
            }
            return Ok(Next::GoOn);
        }
        if !course.plan.final_pass {
            for (model, (&number, point)) in course.numbers.iter().zip(ends).enumerate() {
                let loss = course.progressive(model);
                let objective = loss + self.penalty(self.tasks[number].strengths).value(&point);
                self.done(number, ended(point, (loss, objective, None), course.reason(model)));
            }
            return Ok(Next::GoOn);
        }
        let Some((found, reduced)) = self.look(course, &ends)? else { return Ok(Next::Stop) };
        for (model, ((&number, point), (evaluation, told))) in course.numbers.iter().zip(ends).zip(found).enumerate() {
            let mut outcome = ended(point, (evaluation.loss, told.0, Some(told.1)), course.reason(model));
            outcome.warnings.extend(self.worse_than_nothing(number, evaluation.loss));
            self.done(number, outcome);
        }
        Ok(if self.stops(&reduced) { Next::Stop } else { Next::GoOn })
    }

    /// Says when a model is far worse than a constant; where margins begin elsewhere the loss of a constant is not known.
    fn worse_than_nothing(&self, number: usize, loss: f64) -> Option<String> {
        let task = &self.tasks[number];
        let null_loss = self.limits(task.left_out, task.against).null_loss;
        let is_known = self.setup.space.intercept && self.setup.offset.is_none() && task.left_out.is_none();
        (is_known && null_loss > 0.0 && loss > 2.0 * null_loss).then(|| {
            format!(
                "The loss at the model is {:.3e} times that of the best constant: the training diverged. Use a smaller \
                 --learning-rate, or --warmup.",
                loss / null_loss
            )
        })
    }

    /// The anchors of an epoch: the models where they are, with their full gradients.
    fn anchor(&mut self, course: &mut Course<'a, R>) -> Result<Next> {
        let began = Instant::now();
        let places: Vec<Vec<f64>> = (0..course.numbers.len()).map(|model| course.latest(model)).collect();
        let Some((found, reduced)) = self.look(course, &places)? else { return Ok(Next::Stop) };
        for (model, (evaluation, _)) in found.iter().enumerate() {
            if evaluation.loss == f64::MAX || evaluation.gradient.iter().any(|slope| !slope.is_finite()) {
                return Err(self.of_all(Error::training(format!(
                    "the training diverged: before epoch {} rows are too far off for a gradient. Use a smaller --learning-rate",
                    course.place.epoch + 1
                ))));
            }
            course.anchor(model, &evaluation.gradient);
        }
        course.anchored = true;
        course.numbers.iter().for_each(|&number| self.tasks[number].passes += 1);
        let own = Said { seconds: began.elapsed().as_secs_f64(), ..Said::default() };
        course.seconds += own.agreed(self.setup)?.seconds;
        Ok(if self.stops(&reduced) { Next::Stop } else { Next::GoOn })
    }

    /// One pass over all rows, with the loss, its gradient, and objective and norm of its subgradient for each model at its point.
    fn look(&mut self, course: &Course<'a, R>, at: &[Vec<f64>]) -> Result<Option<(Vec<Look>, Reduced)>> {
        let setup = self.setup;
        let round = |weight: f64| R::from_f64(weight).to_f64();
        let of_model = |(&number, point): (&usize, &Vec<f64>)| {
            let (left_out, against) = (self.tasks[number].left_out, self.tasks[number].against);
            let (want, smoothing) = (Want::Gradient, Smoothing::Exact);
            let margins = setup.to_stored(point, round).into_iter();
            margins.map(|at| Point { at, want, left_out, against, smoothing }).collect::<Vec<Point>>()
        };
        let points: Vec<Point> = course.numbers.iter().zip(at).flat_map(of_model).collect();
        let Some((found, reduced)) = self.pass(&points, Sample::ALL)? else { return Ok(None) };
        let solving = Instant::now();
        let (mut reports, mut looks) = (Vec::new(), Vec::new());
        for ((&number, point), found) in course.numbers.iter().zip(at).zip(found.chunks_exact(setup.joint)) {
            let task = &self.tasks[number];
            let mut evaluation = derive::evaluation(&setup.space, found).map_err(|error| self.of_all(error))?;
            if !found.iter().any(|found| found.beyond) {
                let totals = self.known.of(task.left_out);
                evaluation.loss -= totals.saturated / totals.weight;
            }
            let (objective, gradient_norm) = told(&evaluation, point, &self.penalty(task.strengths));
            reports.push(PointReport {
                configuration: task.configuration,
                left_out: task.left_out,
                against: task.against,
                collected: "gradient".into(),
                objective: objective * setup.target.loss_unit(),
                gradient_norm: gradient_norm * setup.target.units.1.abs(),
                held_out: None,
            });
            looks.push((evaluation, (objective, gradient_norm)));
        }
        lane(setup).span("solve", solving, None);
        let multiply_adds = points.iter().map(|point| point.want.multiply_adds(setup)).sum();
        self.tell(reports, multiply_adds, Sample::ALL, &reduced);
        Ok(Some((looks, reduced)))
    }

    /// Puts where the models stand among the tasks, the same on all ranks.
    fn keep(&mut self, course: &Course<'a, R>) -> Result<()> {
        let seen = course.seen_by_all(self.setup)?;
        for ((model, &number), seen) in course.numbers.iter().enumerate().zip(seen) {
            if self.tasks[number].outcome().is_none() {
                self.tasks[number].stand = Stand::Learning(Box::new(course.state(model, seen)));
            }
        }
        Ok(())
    }
}

/// A model where it ends, with loss, objective and norm of the gradient.
fn ended(point: Vec<f64>, (loss, objective, gradient_norm): (f64, f64, Option<f64>), reason: String) -> Outcome {
    let (warnings, dependent) = (Vec::new(), Vec::new());
    Outcome { point, loss, objective, gradient_norm, converged: None, reason, warnings, dependent }
}

/// Opens the grains of this rank's slots in a round.
fn open<'s>(stream: &'s TileStream<'_>, round: &Round, slots: std::ops::Range<usize>) -> Result<Open<'s>> {
    let one = |grain: &Option<usize>| Ok(grain.map(|number| stream.open(number)).transpose()?);
    round.grains[slots].iter().map(one).collect()
}

/// The grains of this rank's slots.
fn stream<'d>(
    setup: &Setup<'d>,
    plan: &crate::plan::TrainPlan,
    order: &Plan,
    slots: std::ops::Range<usize>,
) -> Result<TileStream<'d>> {
    let mut options = StreamOptions::new(Split::Train);
    options.grains = Some(order.grains_of(&slots).collect());
    // Two rounds are in memory at a time.
    options.threads = 2 * slots.len();
    options.budget_bytes = setup.shares.open_bytes;
    options.io = plan.io;
    options.trace = setup.company.watch.trace().cloned();
    setup.dataset.stream(options).map_err(|error| match error {
        IoError::Tight { left_bytes, .. } => Error::usage(format!(
            "the memory limit leaves {} for data, too few for two rounds of {} open grains. Raise --memory, or use \
             fewer --open-grains",
            memory::format_size(left_bytes),
            slots.len()
        )),
        other => other.into(),
    })
}

/// What a rank says after a stretch.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// It was asked to stop.
    stop: bool,
    /// It wants to keep where the training stands, to which all ranks add their losses.
    wants_stand: bool,
    /// It has seen rows that weigh something.
    weighed: bool,
    /// How long the stretch took.
    seconds: f64,
}

impl Said {
    /// What some rank says, and the seconds of the slowest.
    fn agreed(self, setup: &Setup<'_>) -> Result<Said> {
        if setup.company.comm.size() == 1 {
            return Ok(self);
        }
        let mut own = [self.stop, self.wants_stand, self.weighed].map(u8::from).to_vec();
        own.extend_from_slice(&self.seconds.to_le_bytes());
        let mut all = Said::default();
        for message in setup.company.comm.all_gather(&own)? {
            let Some(([stop, wants_stand, weighed], seconds)) = message.split_first_chunk::<3>() else { continue };
            let Some(seconds) = seconds.first_chunk::<8>() else { continue };
            all = Said {
                stop: all.stop || *stop > 0,
                wants_stand: all.wants_stand || *wants_stand > 0,
                weighed: all.weighed || *weighed > 0,
                seconds: all.seconds.max(f64::from_le_bytes(*seconds)),
            };
        }
        Ok(all)
    }
}

/// Batches of the next stretch, after some that took so long.
fn next_stretch(batches: usize, seconds: f64) -> usize {
    let fits = batches as f64 * STRETCH_SECONDS / seconds.max(1e-6);
    (fits as usize).clamp(1, 4 * batches.max(FIRST_STRETCH))
}
