//! [`Group`]: a [`Communicator`] over any [`Transport`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::algorithm::{Algorithm, Choice, Settings};
use crate::calibrate::{self, Calibration};
use crate::communicator::{CommError, Communicator, Pending, Result};
use crate::element::Element;
use crate::ring::Ring;
use crate::spread;
use crate::torus::Torus;
use crate::transport::{Step, Transport, drive};
use crate::tree::Tree;
use crate::window::{Copied, Lent};

/// The ranks that a transport joins.
pub struct Group<T> {
    transport: T,
    ring: Torus,
    /// The rings of the factors of the number of ranks, where it has several.
    factored: Option<Torus>,
    /// The rings of nodes, where there are several of as many ranks.
    nodes: Option<Torus>,
    /// Whether all ranks are on one node.
    in_memory: bool,
    settings: Mutex<Settings>,
    /// Collective operations begun so far. All ranks begin the same ones in the same order, so the number names the
    /// operation on all of them.
    operations: AtomicU32,
}

impl<T: Transport> Group<T> {
    /// A group over `transport`; the settings are the same on all ranks.
    pub fn new(transport: T, settings: Settings) -> Self {
        let (rank, ranks) = (transport.rank(), transport.size());
        let nodes = match settings.ranks_per_node {
            Some(together) => (0..ranks).map(|rank| rank / together).collect(),
            None => transport.nodes(),
        };
        let in_memory = nodes.iter().all(|&node| node == nodes[0]);
        let (ring, factored) = (Torus::ring(rank, ranks), Torus::of_factors(rank, ranks));
        let nodes = Torus::over_nodes(rank, &nodes);
        let (settings, operations) = (Mutex::new(settings), AtomicU32::new(0));
        Self { transport, ring, factored, nodes, in_memory, settings, operations }
    }

    /// What carries the messages.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// How the group works.
    pub fn settings(&self) -> Settings {
        // Plain values: whole whatever happened to the thread that had them last.
        let settings = *self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        Settings { patience: self.transport.patience(), ..settings }
    }

    /// The same ranks, working by other settings from now on (given alike on all ranks, between exchanges).
    pub fn set(&self, settings: Settings) {
        self.transport.set_patience(settings.patience);
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn choice(&self, has_native: bool) -> Choice {
        Choice { ranks: self.transport.size(), has_native, has_nodes: self.nodes.is_some() }
    }

    /// The rings of a way around them.
    fn torus(&self, way: Algorithm, settings: &Settings, bytes: usize) -> &Torus {
        let nested = match way {
            Algorithm::Hierarchical => &self.nodes,
            _ if self.in_memory && bytes < settings.factored_in_memory_bytes_max => &self.factored,
            _ if bytes < settings.factored_bytes_max => &self.factored,
            _ => &None,
        };
        nested.as_ref().unwrap_or(&self.ring)
    }

    pub(crate) fn next_operation(&self) -> u32 {
        self.operations.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins the sum of `values` over all ranks by `add`, which must be commutative, and associative where the result
    /// shall not depend on the algorithm and on the number of ranks. All ranks end with the same bits in any case.
    /// [`Algorithm::Mpi`] stands for [`Algorithm::Auto`] here.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    pub fn start_sum<'a, E, A>(&'a self, values: &'a mut [E], add: A) -> Result<AllReduce<'a, T, E, A>>
    where
        E: Element,
        A: Fn(E, E) -> E,
    {
        self.start_by(&self.settings(), values, add)
    }

    /// [`Group::start_sum`] by settings that were looked up before: a short sum takes little more than a look-up does.
    fn start_by<'a, E, A>(&'a self, settings: &Settings, values: &'a mut [E], add: A) -> Result<AllReduce<'a, T, E, A>>
    where
        E: Element,
        A: Fn(E, E) -> E,
    {
        let algorithm = settings.chosen(size_of_val(values), self.choice(false));
        let operation = self.next_operation();
        let transport = &self.transport;
        let way = match algorithm {
            Algorithm::Ring | Algorithm::Hierarchical => {
                let (torus, window) =
                    (self.torus(algorithm, settings, size_of_val(values)), Copied::new(transport, values));
                Ring::start(transport, torus, operation, settings, window, add).map(Way::Ring)
            }
            _ => Tree::start(transport, operation, settings.chunk_bytes, values, add).map(Way::Tree),
        };
        Ok(AllReduce { transport, way: way.map_err(|error| error.while_doing(|| "starting a sum".to_string()))? })
    }

    fn check_root(&self, root: usize, what: &str) -> Result<()> {
        let size = self.transport.size();
        if root < size {
            return Ok(());
        }
        Err(CommError::Launch(format!("{what} a rank that does not exist: rank {root} of {size}")))
    }

    /// Around rings in memory that the transport holds meanwhile.
    fn ring_in_place(&self, torus: &Torus, settings: &Settings, sum: &mut Vec<i64>) -> Result<()> {
        let (transport, operation) = (&self.transport, self.next_operation());
        let lanes = if self.in_memory { settings.lanes_in_memory } else { settings.lanes };
        let window = transport.lend(std::mem::take(sum));
        let ring =
            Ring::start(transport, torus, operation, &Settings { lanes, ..*settings }, window, i64::wrapping_add);
        let mut ring = ring.map_err(|error| error.while_doing(|| "starting a sum".to_string()))?;
        drive(transport, &mut ring, Ring::doing, |ring| ring.advance(transport))?;
        let window: Box<dyn Lent + '_> = ring.into_window();
        *sum = window.give_back()?;
        Ok(())
    }

    fn all_reduce_by(&self, way: Algorithm, settings: &Settings, sum: &mut [i64]) -> Result<()> {
        if way == Algorithm::Mpi
            && let Some(done) = self.transport.native_all_reduce(sum)
        {
            return done;
        }
        self.start_by(settings, sum, i64::wrapping_add)?.finish()
    }

    /// The sum of `values` over all ranks by `add`: [`Group::start_sum`] and [`Pending::wait`].
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    pub fn sum<E: Element>(&self, values: &mut [E], add: impl Fn(E, E) -> E) -> Result<()> {
        self.start_sum(values, add)?.finish()
    }
}

/// A sum under way.
pub struct AllReduce<'a, T, E, A> {
    transport: &'a T,
    way: Way<'a, T, E, A>,
}

enum Way<'a, T, E, A> {
    Ring(Ring<'a, Copied<'a, T, &'a mut [E], E>, E, A>),
    Tree(Tree<'a, E, A>),
}

impl<T: Transport, E: Element, A: Fn(E, E) -> E> AllReduce<'_, T, E, A> {
    fn advance(&mut self) -> Result<Step> {
        match &mut self.way {
            Way::Ring(ring) => ring.advance(self.transport),
            Way::Tree(tree) => tree.advance(self.transport),
        }
    }

    fn doing(&self) -> String {
        match &self.way {
            Way::Ring(ring) => ring.doing(),
            Way::Tree(tree) => tree.doing(),
        }
    }

    fn finish(mut self) -> Result<()> {
        drive(self.transport, &mut self, Self::doing, Self::advance)
    }

    fn finish_while(mut self, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let attempt = |own: &mut Self| {
            meanwhile()?;
            own.advance()
        };
        drive(self.transport, &mut self, Self::doing, attempt)
    }
}

impl<T: Transport, E: Element, A: Fn(E, E) -> E> Pending for AllReduce<'_, T, E, A> {
    fn progress(&mut self) -> Result<bool> {
        let step = self.advance();
        Ok(step.map_err(|error| error.while_doing(|| self.doing()))? == Step::Done)
    }

    fn wait_while(self: Box<Self>, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.finish_while(meanwhile)
    }
}

impl<T: Transport> Communicator for Group<T> {
    fn rank(&self) -> usize {
        self.transport.rank()
    }

    fn size(&self) -> usize {
        self.transport.size()
    }

    fn all_reduce(&self, sum: &mut [i64]) -> Result<()> {
        let settings = self.settings();
        let way = settings.chosen(size_of_val(sum), self.choice(true));
        self.all_reduce_by(way, &settings, sum)
    }

    fn all_reduce_vec(&self, sum: &mut Vec<i64>) -> Result<()> {
        let settings = self.settings();
        match settings.chosen(size_of_val(&sum[..]), self.choice(true)) {
            way @ (Algorithm::Ring | Algorithm::Hierarchical) => {
                let torus = self.torus(way, &settings, size_of_val(&sum[..]));
                self.ring_in_place(torus, &settings, sum)
            }
            way => self.all_reduce_by(way, &settings, sum),
        }
    }

    fn start_all_reduce<'a>(&'a self, sum: &'a mut [i64]) -> Result<Box<dyn Pending + 'a>> {
        Ok(Box::new(self.start_sum(sum, i64::wrapping_add)?))
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<()> {
        self.check_root(root, "a broadcast from")?;
        spread::broadcast(self, bytes, root)
    }

    fn gather(&self, bytes: &[u8], root: usize) -> Result<Option<Vec<Vec<u8>>>> {
        self.check_root(root, "gathering on")?;
        spread::gather(self, bytes, root)
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        spread::all_gather(self, bytes)
    }

    fn barrier(&self) -> Result<()> {
        spread::barrier(self)
    }

    fn has_nodes(&self) -> bool {
        self.nodes.is_some()
    }

    fn set_patience(&self, patience: Option<Duration>) {
        self.transport.set_patience(patience);
    }

    fn set_algorithm(&self, algorithm: Algorithm) {
        self.set(Settings { algorithm, ..self.settings() });
    }

    fn calibrate(&self) -> Result<Option<Calibration>> {
        calibrate::calibrate(self).map(Some)
    }

    fn abort(&self, message: &str, exit_code: i32) {
        self.transport.abort(message, exit_code);
    }
}
