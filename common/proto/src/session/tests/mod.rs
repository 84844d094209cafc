//! Both ends against each other, and each against what a hostile peer sends.

mod exchange;
mod hostile;
mod pair;
mod tamper;
mod time;
