//! The engine: passes over grains, sums that do not depend on their order, and the loop that serves every solver.
