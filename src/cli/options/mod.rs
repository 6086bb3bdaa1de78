//! Groups of flags that several commands share.

mod machine;
mod output;
mod training;

pub use machine::MachineOptions;
pub use output::OutputOptions;
pub use training::TrainingOptions;
