//! The jobs that wait for a thread of a pool: a bounded queue for each device, served in turn.
//!
//! While jobs of two devices wait, no device gets more than half of the threads. A device that is
//! alone gets all of them: its jobs that have begun are not taken back when another one comes.
//!
//! Nothing is allocated for a job once as many have waited before, and no operation walks over the
//! jobs, except the search for those that have waited too long.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::device::Device;

/// How long a job may wait for a thread. A request that is not begun by then is answered `Busy`.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(10);

/// Bounds of [`Lanes`].
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneBounds {
    /// Threads that take jobs. Half of them, rounded up, are a device's share.
    pub(super) threads: usize,
    /// Jobs that may wait.
    pub(super) queued: usize,
    /// Of these, jobs of one device.
    pub(super) queued_of_device: usize,
}

/// Jobs that wait, and how many of each device are running.
pub(super) struct Lanes<T> {
    bounds: LaneBounds,
    lanes: Vec<Lane>,
    /// The lanes without jobs, to be used for other devices.
    spare_lanes: Vec<usize>,
    of_device: HashMap<Device, usize>,
    /// The lanes in which jobs wait, in the order in which they are served.
    turn: VecDeque<usize>,
    /// Places for waiting jobs; each lane's are a linked list.
    places: Vec<Place<T>>,
    spare_places: Vec<usize>,
    /// Jobs that wait, and those of them that have a deadline.
    queued: usize,
    with_deadline: usize,
}

/// The jobs of one device.
struct Lane {
    device: Device,
    first: Option<usize>,
    last: Option<usize>,
    queued: usize,
    running: usize,
}

struct Place<T> {
    job: Option<T>,
    deadline: Option<Instant>,
    next: Option<usize>,
}

/// A job that was taken for a thread. [`Lanes::finish`] is called when it has ended.
pub(super) struct Taken<T> {
    pub(super) job: T,
    pub(super) lane: LaneNumber,
    /// Whether its deadline has passed, so that it must not begin.
    pub(super) is_late: bool,
}

/// The lane of a job that is running. It stays that device's until the job has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneNumber(usize);

impl<T> Lanes<T> {
    /// No jobs.
    pub(super) fn new(bounds: LaneBounds) -> Self {
        Self {
            bounds,
            lanes: Vec::new(),
            spare_lanes: Vec::new(),
            of_device: HashMap::new(),
            turn: VecDeque::new(),
            places: Vec::new(),
            spare_places: Vec::new(),
            queued: 0,
            with_deadline: 0,
        }
    }

    /// Number of jobs that wait.
    pub(super) const fn len(&self) -> usize {
        self.queued
    }

    /// Whether a job waits that has a deadline.
    pub(super) const fn has_deadlines(&self) -> bool {
        self.with_deadline > 0
    }

    /// Queues a job. Returns it when too many wait.
    pub(super) fn push(
        &mut self,
        device: Device,
        job: T,
        deadline: Option<Instant>,
    ) -> Result<(), T> {
        let lane = self.of_device.get(&device).copied();
        let queued = lane.map_or(0, |lane| self.lanes[lane].queued);
        if self.queued >= self.bounds.queued || queued >= self.bounds.queued_of_device {
            return Err(job);
        }
        let number = lane.unwrap_or_else(|| self.add_lane(device));
        let place = Place { job: Some(job), deadline, next: None };
        let place = match self.spare_places.pop() {
            Some(free) => {
                self.places[free] = place;
                free
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        let lane = &mut self.lanes[number];
        match lane.last.replace(place) {
            Some(last) => self.places[last].next = Some(place),
            None => {
                lane.first = Some(place);
                self.turn.push_back(number);
            }
        }
        lane.queued += 1;
        self.queued += 1;
        self.with_deadline += usize::from(deadline.is_some());
        Ok(())
    }

    /// Takes the next job for a thread: the oldest of the device whose turn it is.
    pub(super) fn take(&mut self, now: Instant) -> Option<Taken<T>> {
        let share = self.bounds.threads.div_ceil(2);
        let is_alone = self.turn.len() == 1;
        // At most two lanes can have their whole share, and then no thread is free.
        let may_run = |lane: &usize| is_alone || self.lanes[*lane].running < share;
        let at = self.turn.iter().position(may_run)?;
        let number = self.turn.remove(at)?;
        let place = self.lanes[number].first?;
        let (job, deadline) = self.unlink(number, None, place)?;
        let lane = &mut self.lanes[number];
        lane.running += 1;
        if lane.queued > 0 {
            self.turn.push_back(number);
        }
        let is_late = deadline.is_some_and(|deadline| deadline <= now);
        Some(Taken { job, lane: LaneNumber(number), is_late })
    }

    /// Notes that a job of this lane has ended.
    pub(super) fn finish(&mut self, LaneNumber(number): LaneNumber) {
        self.lanes[number].running -= 1;
        self.recycle(number);
    }

    /// Removes the jobs whose deadline has passed.
    pub(super) fn remove_late(&mut self, now: Instant) -> Vec<(Device, T)> {
        self.remove(|_, deadline| deadline.is_some_and(|deadline| deadline <= now))
    }

    /// Removes the jobs for which this holds, by themselves and their deadline.
    pub(super) fn remove(
        &mut self,
        is_over: impl Fn(&T, Option<Instant>) -> bool,
    ) -> Vec<(Device, T)> {
        let mut removed = Vec::new();
        for _ in 0..self.turn.len() {
            let Some(number) = self.turn.pop_front() else { break };
            let (mut before, mut at) = (None, self.lanes[number].first);
            while let Some(place) = at {
                let Place { job, deadline, next } = &self.places[place];
                at = *next;
                if job.as_ref().is_some_and(|job| is_over(job, *deadline)) {
                    let job = self.unlink(number, before, place).map(|(job, _)| job);
                    removed.extend(job.map(|job| (self.lanes[number].device, job)));
                } else {
                    before = Some(place);
                }
            }
            if self.lanes[number].queued > 0 {
                self.turn.push_back(number);
            }
            self.recycle(number);
        }
        removed
    }

    /// The deadline that passes first.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.places.iter().filter(|place| place.job.is_some());
        waiting.filter_map(|place| place.deadline).min()
    }

    fn add_lane(&mut self, device: Device) -> usize {
        let lane = Lane { device, first: None, last: None, queued: 0, running: 0 };
        let number = match self.spare_lanes.pop() {
            Some(spare) => {
                self.lanes[spare] = lane;
                spare
            }
            None => {
                self.lanes.push(lane);
                self.lanes.len() - 1
            }
        };
        self.of_device.insert(device, number);
        number
    }

    /// Takes the job at a place out of its lane. `before` is the place before it.
    fn unlink(
        &mut self,
        number: usize,
        before: Option<usize>,
        place: usize,
    ) -> Option<(T, Option<Instant>)> {
        let Place { job, deadline, next } = &mut self.places[place];
        let (job, deadline, next) = (job.take()?, deadline.take(), next.take());
        let lane = &mut self.lanes[number];
        match before {
            Some(before) => self.places[before].next = next,
            None => lane.first = next,
        }
        if next.is_none() {
            lane.last = before;
        }
        lane.queued -= 1;
        self.queued -= 1;
        self.with_deadline -= usize::from(deadline.is_some());
        self.spare_places.push(place);
        Some((job, deadline))
    }

    /// Gives a lane without jobs to other devices.
    fn recycle(&mut self, number: usize) {
        let Lane { device, queued: 0, running: 0, .. } = self.lanes[number] else { return };
        self.of_device.remove(&device);
        self.spare_lanes.push(number);
    }
}

#[cfg(test)]
mod tests;
