//! A result as the manager reads it: its texts stay in the message that brought them, until they are put where those of
//! the run before stand. Most of them are the same run after run, so nothing is taken from the heap for them.

use super::frame::{Get, WireError};
use super::worker::{Ending, Finished, Growth, status};
use crate::check::outcome::{Metric, Phase, Status};
use crate::text::keep;
use std::borrow::Cow;

/// Its fields are those of `Finished`.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    pub run_id: u64,
    pub check: u32,
    pub attempt: u8,
    pub status: Status,
    pub ending: Ending,
    pub started_ns: u64,
    pub finished_ns: u64,
    pub queue_ns: u64,
    pub cpu_ns: u64,
    pub steps: u32,
    pub stalls: u32,
    pub blocked: u32,
    pub grew: Growth,
    pub message: Cow<'a, str>,
    pub detail: Cow<'a, str>,
    pub metrics: Items<'a>,
    pub labels: Items<'a>,
    pub phases: Items<'a>,
}

/// A list as it stands in the message, which was held to be whole when it was read. The default is an empty one.
#[derive(Clone, Debug, Default)]
pub struct Items<'a> {
    count: usize,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Items<'a> {
    /// `least`: bytes that an item has at least.
    fn get<T>(
        g: &mut Get<'a>,
        least: usize,
        item: impl Fn(&mut Get<'a>) -> Result<T, WireError>,
    ) -> Result<Items<'a>, WireError> {
        let count = g.count(least)?;
        let bytes = g.part(|g| (0..count).try_for_each(|_| item(g).map(drop)))?;
        Ok(Items {
            count,
            bytes: bytes.into(),
        })
    }

    /// `item`: by which it was read before.
    fn each<'s, T>(
        &'s self,
        item: impl Fn(&mut Get<'s>) -> Result<T, WireError>,
    ) -> impl ExactSizeIterator<Item = T> {
        let mut g = Get::of(&self.bytes);
        (0..self.count).map(move |_| item(&mut g).expect("it was whole before"))
    }

    fn into_owned(self) -> Items<'static> {
        Items {
            count: self.count,
            bytes: self.bytes.into_owned().into(),
        }
    }
}

fn metric<'a>(g: &mut Get<'a>) -> Result<Metric<&'a str>, WireError> {
    let (name, unit) = (g.text()?, g.text()?);
    let counter = g.u8()? != 0;
    let mut number = || Ok(Some(g.f64()?).filter(|v| v.is_finite()));
    Ok(Metric {
        name,
        unit,
        counter,
        value: number()?,
        warn: number()?,
        crit: number()?,
        min: number()?,
        max: number()?,
    })
}

fn label<'a>(g: &mut Get<'a>) -> Result<(&'a str, &'a str), WireError> {
    Ok((g.text()?, g.text()?))
}

fn phase<'a>(g: &mut Get<'a>) -> Result<Phase<&'a str>, WireError> {
    Ok(Phase {
        name: g.text()?,
        at_ns: g.u64()?,
    })
}

impl<'a> Report<'a> {
    pub(super) fn get(g: &mut Get<'a>) -> Result<Report<'a>, WireError> {
        Ok(Report {
            run_id: g.u64()?,
            check: g.u32()?,
            attempt: g.u8()?,
            status: status(g.u8()?)?,
            ending: Ending::from_code(g.u8()?).ok_or(WireError::BadValue { what: "an ending" })?,
            started_ns: g.u64()?,
            finished_ns: g.u64()?,
            queue_ns: g.u64()?,
            cpu_ns: g.u64()?,
            steps: g.u32()?,
            stalls: g.u32()?,
            blocked: g.u32()?,
            grew: Growth::get(g)?,
            message: g.text()?.into(),
            detail: g.text()?.into(),
            metrics: Items::get(g, 49, metric)?,
            labels: Items::get(g, 8, label)?,
            phases: Items::get(g, 12, phase)?,
        })
    }

    /// To be kept longer than its message.
    pub fn into_owned(self) -> Report<'static> {
        Report {
            message: self.message.into_owned().into(),
            detail: self.detail.into_owned().into(),
            metrics: self.metrics.into_owned(),
            labels: self.labels.into_owned(),
            phases: self.phases.into_owned(),
            ..self
        }
    }

    pub fn metrics(&self) -> impl ExactSizeIterator<Item = Metric<&str>> {
        self.metrics.each(metric)
    }

    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.labels.each(label)
    }

    pub fn phases(&self) -> impl ExactSizeIterator<Item = Phase<&str>> {
        self.phases.each(phase)
    }

    pub fn keep_metrics(&self, kept: &mut Vec<Metric>) {
        keep_each(kept, self.metrics(), |kept, said| {
            keep(&mut kept.name, said.name);
            keep(&mut kept.unit, said.unit);
            kept.value = said.value;
            kept.warn = said.warn;
            kept.crit = said.crit;
            kept.min = said.min;
            kept.max = said.max;
            kept.counter = said.counter;
        });
    }

    pub fn keep_labels(&self, kept: &mut Vec<(String, String)>) {
        keep_each(kept, self.labels(), |kept, (key, value)| {
            keep(&mut kept.0, key);
            keep(&mut kept.1, value);
        });
    }

    pub fn keep_phases(&self, kept: &mut Vec<Phase>) {
        keep_each(kept, self.phases(), |kept, said| {
            keep(&mut kept.name, said.name);
            kept.at_ns = said.at_ns;
        });
    }
}

/// As `text::keep` does with texts.
fn keep_each<T: Default, S>(
    kept: &mut Vec<T>,
    said: impl ExactSizeIterator<Item = S>,
    put: impl Fn(&mut T, S),
) {
    const SPARE: usize = 4;
    kept.truncate(said.len());
    if kept.capacity() > 2 * said.len() + SPARE {
        kept.shrink_to_fit();
    }
    kept.reserve_exact(said.len() - kept.len());
    kept.resize_with(said.len(), T::default);
    let places = kept.iter_mut().zip(said);
    places.for_each(|(kept, said)| put(kept, said));
}

impl Metric<&str> {
    pub fn owned(self) -> Metric {
        Metric {
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            value: self.value,
            warn: self.warn,
            crit: self.crit,
            min: self.min,
            max: self.max,
            counter: self.counter,
        }
    }
}

impl Phase<&str> {
    pub fn owned(self) -> Phase {
        Phase {
            name: self.name.to_owned(),
            at_ns: self.at_ns,
        }
    }
}

impl From<Report<'_>> for Finished {
    fn from(report: Report<'_>) -> Finished {
        let (mut metrics, mut labels, mut phases) = (Vec::new(), Vec::new(), Vec::new());
        report.keep_metrics(&mut metrics);
        report.keep_labels(&mut labels);
        report.keep_phases(&mut phases);
        Finished {
            run_id: report.run_id,
            check: report.check,
            attempt: report.attempt,
            status: report.status,
            ending: report.ending,
            started_ns: report.started_ns,
            finished_ns: report.finished_ns,
            queue_ns: report.queue_ns,
            cpu_ns: report.cpu_ns,
            steps: report.steps,
            stalls: report.stalls,
            blocked: report.blocked,
            grew: report.grew,
            message: report.message.into_owned(),
            detail: report.detail.into_owned(),
            metrics,
            labels,
            phases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::worker::Heard;

    fn finished(message: &str, metrics: usize, value: f64) -> Finished {
        let metric = |n| Metric {
            name: format!("time-{n}"),
            unit: "s".into(),
            value: Some(value),
            max: Some(1.0),
            counter: n == 1,
            ..Metric::default()
        };
        let phase = Phase {
            name: "connect".into(),
            at_ns: value as u64,
        };
        Finished {
            run_id: 1,
            check: 2,
            attempt: 1,
            status: Status::Ok,
            ending: Ending::Returned,
            started_ns: 3,
            finished_ns: 4,
            queue_ns: 5,
            cpu_ns: 6,
            steps: 7,
            stalls: 8,
            blocked: 9,
            grew: Growth { kb: 10, fds: 11 },
            message: message.into(),
            detail: "more".into(),
            metrics: (0..metrics).map(metric).collect(),
            labels: vec![("key".into(), message.into())],
            phases: vec![phase],
        }
    }

    fn sent(finished: &Finished) -> Vec<u8> {
        let mut bytes = Vec::new();
        finished.encode(&mut bytes);
        bytes
    }

    fn read(bytes: &[u8]) -> Report<'_> {
        match Heard::decode(&mut &*bytes) {
            Ok(Some(Heard::Finished(report))) => report,
            _ => panic!("not a result"),
        }
    }

    #[test]
    fn one_that_outlives_its_message_says_the_same() {
        let said = finished("open", 3, 0.5);
        let bytes = sent(&said);
        let kept: Report<'static> = read(&bytes).into_owned();
        drop(bytes);
        let metrics: Vec<Metric> = kept.metrics().map(Metric::owned).collect();
        let phases: Vec<Phase> = kept.phases().map(Phase::owned).collect();
        assert_eq!((&metrics, &phases), (&said.metrics, &said.phases));
        assert_eq!(Finished::from(kept), said);
    }

    /// What a check keeps of its last run.
    #[derive(Default)]
    struct Kept {
        metrics: Vec<Metric>,
        labels: Vec<(String, String)>,
        phases: Vec<Phase>,
    }

    impl Kept {
        fn hears(&mut self, said: &Finished) {
            let bytes = sent(said);
            let report = read(&bytes);
            report.keep_metrics(&mut self.metrics);
            report.keep_labels(&mut self.labels);
            report.keep_phases(&mut self.phases);
            assert_eq!(self.metrics, said.metrics);
            assert_eq!(self.labels, said.labels);
            assert_eq!(self.phases, said.phases);
        }

        /// Where all that it keeps stands.
        fn places(&self) -> Vec<*const u8> {
            let metrics = self.metrics.iter();
            let mut texts: Vec<&str> = metrics.flat_map(|m| [&*m.name, &*m.unit]).collect();
            texts.extend(self.labels.iter().flat_map(|(k, v)| [&**k, &**v]));
            texts.extend(self.phases.iter().map(|p| &*p.name));
            let mut places: Vec<*const u8> = texts.iter().map(|t| t.as_ptr()).collect();
            places.push(self.metrics.as_ptr().cast());
            places.push(self.labels.as_ptr().cast());
            places.push(self.phases.as_ptr().cast());
            places
        }
    }

    #[test]
    fn a_result_takes_the_room_of_the_one_before_it() {
        let mut kept = Kept::default();
        kept.hears(&finished("open", 2, 0.5));
        let places = kept.places();
        kept.hears(&finished("shut", 2, 0.75));
        assert_eq!(kept.places(), places);
    }

    #[test]
    fn what_a_large_result_took_is_given_back() {
        let mut kept = Kept::default();
        for metrics in [0, 2, 500, 0, 3] {
            kept.hears(&finished("open", metrics, 0.5));
            let room = kept.metrics.capacity();
            assert!(room <= 2 * metrics + 4, "room for {room} of {metrics}");
        }
    }
}
