//! Groups of flags that several commands share.

mod ingesting;
mod machine;
mod output;
mod reading;
mod training;

pub use ingesting::IngestingOptions;
pub use machine::MachineOptions;
pub use output::OutputOptions;
pub use reading::ReadingOptions;
pub use training::TrainingOptions;
