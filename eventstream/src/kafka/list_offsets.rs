//! The offsets of many partitions at once, as a blocking call.
//!
//! `unsafe`: the queue on which the answers arrive.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::questions::{self, Answer, Committed, Questions, TopicId, TopicPartition, Which};

/// Which offset of which partitions.
pub(super) struct Ask {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) which: Which,
}

/// Partitions with their offset, or why it is unknown.
pub(super) type Found = Vec<(TopicPartition, Result<i64, Code>)>;

const LONGEST: Duration = Duration::from_secs(3600);

/// Sends all requests at once, and returns the answers in the order of the requests. All partitions of a request
/// should have the same leader: if one of several does not answer, librdkafka holds back the others' answers. Each
/// should have a leader, as librdkafka waits for that too.
pub(super) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    asked: &[Ask],
    timeout: Duration,
) -> Vec<Result<Found, Code>> {
    let parts: Vec<(usize, &[TopicPartition])> = (asked.iter().enumerate())
        .flat_map(|(number, ask)| {
            let parts = ask.partitions.chunks(questions::AT_ONCE);
            parts.map(move |part| (number, part))
        })
        .collect();
    let mut found = vec![Err(Code::OperationTimedOut); parts.len()];
    // They stay open for longer than that.
    let deadline = Instant::now() + timeout.min(LONGEST);
    let answers = answers_by(client, deadline, timeout, parts.len(), |questions| {
        for (token, (number, part)) in parts.iter().enumerate() {
            questions.offsets(*part, asked[*number].which, token);
        }
    });
    for (token, answer) in answers {
        if let (Answer::Offsets(answer), Some(found)) = (answer, found.get_mut(token)) {
            *found = answer.map_err(|refused| refused.code);
        }
    }
    let numbers = parts.iter().map(|(number, _)| *number);
    together(asked.len(), numbers.zip(found))
}

/// The answer to each request, whose parts were answered separately. It has failed if one of its parts has.
fn together(
    requests: usize,
    parts: impl Iterator<Item = (usize, Result<Found, Code>)>,
) -> Vec<Result<Found, Code>> {
    let mut all = vec![Ok(Found::new()); requests];
    for (number, part) in parts {
        match (&mut all[number], part) {
            (Ok(found), Ok(part)) => found.extend(part),
            (answer @ Ok(_), Err(code)) => *answer = Err(code),
            (Err(_), _) => {}
        }
    }
    all
}

/// Requests the committed offsets of a group. librdkafka's own call waits silently for a
/// coordinator that this client may not know.
pub(super) fn list_committed<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<Vec<Committed>, Code> {
    let answers = answers(client, timeout, 1, |questions| {
        questions.committed(group, partitions, 0);
    });
    match answers.into_iter().next() {
        Some((_, Answer::Committed(found))) => found.map_err(|refused| refused.code),
        _ => Err(Code::OperationTimedOut),
    }
}

/// What distinguishes the topic from another of the same name; `None` if the brokers have no ids. The client must
/// have received an answer from the brokers.
pub(super) fn describe_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<TopicId>, Code> {
    let answers = answers(client, timeout, 1, |questions| {
        questions.topics(&[topic], 0);
    });
    match answers.into_iter().next() {
        Some((_, Answer::Topics(Ok(found)))) => {
            let found = found.into_iter().find(|found| found.name == topic);
            Ok(found.and_then(|found| found.id))
        }
        Some((_, Answer::Topics(Err(refused)))) => Err(refused.code),
        _ => Err(Code::OperationTimedOut),
    }
}

/// The answers that arrive in time, one for each request that `ask` sends.
pub(super) fn answers<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
    count: usize,
    ask: impl FnOnce(&Questions<'_, C>),
) -> Vec<(usize, Answer)> {
    // Each request has the timeout, so its event arrives; an extra second bounds the wait.
    let deadline = Instant::now() + timeout.min(LONGEST) + Duration::from_secs(1);
    answers_by(client, deadline, timeout, count, ask)
}

fn answers_by<C: ClientContext>(
    client: &Client<C>,
    deadline: Instant,
    timeout: Duration,
    count: usize,
    ask: impl FnOnce(&Questions<'_, C>),
) -> Vec<(usize, Answer)> {
    let mut answers = Vec::with_capacity(count);
    // SAFETY: the client is alive. The queue is made here and destroyed once, after the last event was
    // taken from it; librdkafka holds it as long as a question is open. Each event is destroyed once,
    // after it was read.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        ask(&Questions {
            client,
            queue,
            timeout,
        });
        for _ in 0..count {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let event = sys::rd_kafka_queue_poll(queue, left);
            if event.is_null() {
                break;
            }
            answers.extend(questions::answer(event));
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering as Atomic};
    use std::thread;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;
    use crate::kafka::EmbeddedBroker;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Where the timeout is librdkafka's own and the CPU is scarce, this ends the process.
    #[test]
    fn a_request_that_is_given_up_at_once_does_no_harm() {
        let broker = EmbeddedBroker::start().expect("a broker");
        let partitions = i32::try_from(questions::AT_ONCE).expect("a number");
        broker.create_topic("t", partitions).expect("created");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.address())
            .create()
            .expect("a consumer");
        // It knows the leaders.
        let described = consumer.fetch_metadata(Some("t"), PATIENCE);
        assert_eq!(described.expect("described").topics().len(), 1);
        let ask = [Ask {
            partitions: (0..partitions).map(|p| ("t".to_owned(), p)).collect(),
            which: Which::Earliest,
        }];
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while !over.load(Atomic::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            for _ in 0..100 {
                list_offsets(consumer.client(), &ask, Duration::ZERO);
            }
            over.store(true, Atomic::Relaxed);
        });
        let found = list_offsets(consumer.client(), &ask, PATIENCE);
        let found = found[0].as_ref().expect("an answer");
        assert_eq!(found.len(), questions::AT_ONCE);
    }

    #[test]
    fn a_request_has_the_answers_of_all_its_parts() {
        let found = |partition| vec![(("t".to_owned(), partition), Ok(1))];
        let failed = Err(Code::OperationTimedOut);
        let parts = [
            (0, Ok(found(0))),
            (1, Ok(found(7))),
            (0, Ok(found(1))),
            (1, failed.clone()),
            (1, Ok(found(8))),
        ];
        let all = together(3, parts.into_iter());
        assert_eq!(all, [Ok([found(0), found(1)].concat()), failed, Ok(vec![])]);
    }
}
