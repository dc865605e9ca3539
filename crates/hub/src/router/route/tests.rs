use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(100);

fn frame(text: &str) -> (FramePeek, Vec<u8>) {
    (FramePeek::of(text.as_bytes()).unwrap(), text.as_bytes().to_vec())
}

fn request(op: &str, tag: u32) -> FramePeek {
    frame(&format!(
        r#"{{"channel":"acheron","type":"acheron.t_fs_{op}","tag":{tag},"h":9,"payload":{{}}}}"#
    ))
    .0
}

fn reply(op: &str, tag: Tag, payload: &str) -> (FramePeek, Vec<u8>) {
    frame(&format!(
        r#"{{"channel":"acheron","type":"acheron.r_fs_{op}","tag":{},"ok":true,"payload":{payload}}}"#,
        tag.0
    ))
}

fn attached() -> (Route, Generation) {
    let mut route = Route::default();
    let generation = route.attach(NOW).generation;
    (route, generation)
}

#[test]
fn equal_tags_of_two_clients_find_their_way_back() {
    let (mut route, generation) = attached();
    let (a, b) = (route.enter(false), route.enter(false));
    let up_a = route.forward(a, &request("read", 7), 1, NOW).unwrap();
    let up_b = route.forward(b, &request("read", 7), 2, NOW).unwrap();
    assert_ne!(up_a, up_b);
    for (up, client, weight) in [(up_b, b, 2), (up_a, a, 1)] {
        let (peek, text) = reply("read", up, "{}");
        let answered = route.answer(generation, &peek, &text);
        assert_eq!(
            answered,
            Answered::Client {
                client,
                tag: Tag(7),
                weight
            }
        );
        assert_eq!(route.answer(generation, &peek, &text), Answered::Nobody, "once");
    }
}

#[test]
fn what_was_on_its_way_fails_when_the_tunnel_drops_or_is_replaced() {
    let (mut route, generation) = attached();
    let client = route.enter(false);
    let up = route.forward(client, &request("read", 7), 5, NOW).unwrap();
    let failed = Failed {
        client,
        tag: Tag(7),
        weight: 5,
    };
    assert_eq!(route.detach(generation, NOW), Some(vec![failed]));
    assert_eq!(
        route.forward(client, &request("read", 8), 5, NOW),
        Err(Unroutable::NoTunnel)
    );
    let second = route.attach(NOW);
    let (late, text) = reply("read", up, "{}");
    assert_eq!(route.answer(second.generation, &late, &text), Answered::Nobody);
    let next = route.forward(client, &request("read", 9), 5, NOW).unwrap();
    assert!(next.0 > up.0, "tags go on counting");
    let third = route.attach(NOW);
    assert_eq!(third.failed.len(), 1);
    assert_eq!(
        route.detach(second.generation, NOW),
        None,
        "the old one has nothing to say"
    );
    let (old, text) = reply("read", next, "{}");
    assert_eq!(route.answer(second.generation, &old, &text), Answered::Nobody);
}

#[test]
fn handles_of_clients_that_left_are_closed() {
    let (mut route, generation) = attached();
    let client = route.enter(false);
    for (op, handle) in [("open", 1), ("create", 2), ("open", 3)] {
        let up = route.forward(client, &request(op, 1), 0, NOW).unwrap();
        let (peek, text) = reply(op, up, &format!(r#"{{"h":{handle}}}"#));
        assert!(matches!(
            route.answer(generation, &peek, &text),
            Answered::Client { .. }
        ));
    }
    let (close, _) = frame(r#"{"channel":"acheron","type":"acheron.t_fs_close","tag":4,"h":2,"payload":{}}"#);
    route.forward(client, &close, 0, NOW).unwrap();
    let late = route.forward(client, &request("open", 5), 0, NOW).unwrap();
    route.leave(client);
    assert_eq!(closed(&mut route), [1, 3]);
    let (peek, text) = reply("open", late, r#"{"h":77}"#);
    assert_eq!(route.answer(generation, &peek, &text), Answered::Nobody);
    assert_eq!(closed(&mut route), [77]);
}

/// The handles that are to be closed now.
fn closed(route: &mut Route) -> Vec<u64> {
    std::iter::from_fn(|| route.next_close(NOW))
        .map(|close| close.handle)
        .collect()
}

/// Has a client open this many handles, from 0 on.
fn open_handles(route: &mut Route, generation: Generation, client: ClientId, count: usize) {
    for handle in 0..count {
        let up = route.forward(client, &request("open", 1), 0, NOW).unwrap();
        let (peek, text) = reply("open", up, &format!(r#"{{"h":{handle}}}"#));
        route.answer(generation, &peek, &text);
    }
}

#[test]
fn more_handles_than_may_be_on_their_way_are_closed_one_after_the_other() {
    const COUNT: usize = MOST_OUTSTANDING + 300;
    let (mut route, generation) = attached();
    let (client, other) = (route.enter(false), route.enter(false));
    open_handles(&mut route, generation, client, COUNT);
    route.leave(client);
    let mut closes: VecDeque<_> = std::iter::from_fn(|| route.next_close(NOW)).collect();
    assert_eq!(closes.len(), MOST_CLOSES, "others have their places");
    for tag in 0..MOST_OUTSTANDING as u32 {
        route.forward(other, &request("read", tag), 0, NOW).unwrap();
    }
    assert_eq!(
        route.forward(other, &request("read", 0), 0, NOW),
        Err(Unroutable::Busy)
    );
    let mut handles = Vec::new();
    while let Some(close) = closes.pop_front() {
        assert_eq!(close.client, client);
        handles.push(close.handle);
        let (peek, text) = reply("close", close.tag, "{}");
        assert_eq!(route.answer(generation, &peek, &text), Answered::Nobody);
        closes.extend(route.next_close(NOW));
    }
    assert!(handles.into_iter().eq(0..COUNT as u64), "each of them once");
}

#[test]
fn closes_that_nobody_answers_make_room_for_the_next() {
    let (mut route, generation) = attached();
    let client = route.enter(false);
    open_handles(&mut route, generation, client, MOST_CLOSES + 1);
    route.leave(client);
    assert_eq!(closed(&mut route).len(), MOST_CLOSES);
    assert_eq!(route.expire(NOW, Duration::ZERO), [], "nobody waits for them");
    assert_eq!(closed(&mut route), [MOST_CLOSES as u64]);
    // A new tunnel owes nothing of the old one.
    route.attach(NOW);
    assert!(closed(&mut route).is_empty());
}

#[test]
fn a_client_opens_as_much_as_can_be_closed_for_it() {
    let (mut route, generation) = attached();
    let client = route.enter(false);
    open_handles(&mut route, generation, client, MOST_HANDLES);
    assert_eq!(
        route.forward(client, &request("create", 1), 0, NOW),
        Err(Unroutable::TooManyHandles)
    );
    route.forward(client, &request("close", 1), 0, NOW).unwrap();
    route.forward(client, &request("open", 1), 0, NOW).unwrap();
}

#[test]
fn subscribers_are_told_to_look_again_after_a_pause() {
    let (mut route, generation) = attached();
    let (client, other) = (route.enter(true), route.enter(false));
    let up = route.forward(client, &request("exports", 1), 0, NOW).unwrap();
    let (peek, text) = reply(
        "exports",
        up,
        r#"{"exports":[{"name":"work","root":281474987680366}]}"#,
    );
    route.answer(generation, &peek, &text);
    route.detach(generation, NOW);
    let again = route.attach(NOW);
    assert_eq!(
        again.catch_up,
        [
            r#"{"channel":"acheron","type":"acheron.e_fs_inval","payload":{"node":281474987680366,"what":"all"}}"#
        ]
    );
    assert_eq!(again.subscribers, [client]);
    route.set_subscription(other, true);
    assert_eq!(route.subscribers(again.generation).count(), 2);
}

#[test]
fn two_processes_that_fight_are_noticed() {
    let (mut route, _) = attached();
    let mut takeovers = |now| {
        (0..=TAKEOVERS)
            .map(|_| route.attach(now).is_contested)
            .collect::<Vec<_>>()
    };
    let is_noticed = [false, false, false, true];
    assert_eq!(takeovers(NOW), is_noticed);
    assert_eq!(takeovers(NOW), is_noticed, "once for each fight");
    let slow = (0..20).map(|turn| route.attach(NOW + CONTEST * turn / 3).is_contested);
    assert!(
        !slow.skip(1).any(|is_contested| is_contested),
        "a bad link is no fight"
    );
}

#[test]
fn requests_nobody_answers_end_in_time() {
    let (mut route, _) = attached();
    let client = route.enter(false);
    route.forward(client, &request("read", 1), 0, NOW).unwrap();
    let patience = Duration::from_secs(45);
    assert_eq!(route.expire(NOW + patience / 2, patience), []);
    assert_eq!(route.oldest(NOW + patience / 2), Some(patience / 2));
    assert_eq!(route.expire(NOW + patience, patience).len(), 1);
    assert_eq!(route.oldest(NOW + patience), None);
}

#[derive(Debug, Clone)]
enum Step {
    Enter,
    Leave(usize),
    Forward(usize, u32),
    Answer(usize),
    Attach,
    Detach,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Enter),
        (0..4_usize).prop_map(Step::Leave),
        (0..4_usize, 0..3_u32).prop_map(|(client, tag)| Step::Forward(client, tag)),
        (0..4_usize, 0..3_u32).prop_map(|(client, tag)| Step::Forward(client, tag)),
        (0..8_usize).prop_map(Step::Answer),
        (0..8_usize).prop_map(Step::Answer),
        Just(Step::Attach),
        Just(Step::Detach),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever happens, a request that was taken ends once: answered, failed, or its client left.
    #[test]
    fn every_request_ends_exactly_once(steps in steps()) {
        let (mut route, mut generation) = attached();
        let mut is_attached = true;
        let mut clients = Vec::new();
        let mut open: Vec<(Tag, ClientId, Tag)> = Vec::new();
        let mut now = NOW;
        for step in steps {
            now += CONTEST;
            match step {
                Step::Enter => clients.push(route.enter(false)),
                Step::Leave(index) if index < clients.len() => {
                    let client = clients.remove(index);
                    route.leave(client);
                    open.retain(|(_, owner, _)| *owner != client);
                }
                Step::Forward(index, tag) if index < clients.len() => {
                    match route.forward(clients[index], &request("read", tag), 0, now) {
                        Ok(up) => {
                            prop_assert!(is_attached);
                            prop_assert!(open.iter().all(|(other, ..)| *other != up), "a tag was used twice");
                            open.push((up, clients[index], Tag(tag)));
                        }
                        Err(why) => prop_assert_eq!((why, is_attached), (Unroutable::NoTunnel, false)),
                    }
                }
                Step::Answer(index) if index < open.len() => {
                    let (up, client, tag) = open.remove(index);
                    let (peek, text) = reply("read", up, "{}");
                    prop_assert_eq!(
                        route.answer(generation, &peek, &text),
                        Answered::Client { client, tag, weight: 0 }
                    );
                }
                Step::Attach | Step::Detach => {
                    let failed = if matches!(step, Step::Attach) {
                        let attached = route.attach(now);
                        generation = attached.generation;
                        is_attached = true;
                        attached.failed
                    } else {
                        is_attached = false;
                        route.detach(generation, now).unwrap_or_default()
                    };
                    let mut expected: Vec<_> = open.drain(..).map(|(_, client, tag)| (client, tag.0)).collect();
                    expected.sort_unstable();
                    let mut failed: Vec<_> = failed.iter().map(|failed| (failed.client, failed.tag.0)).collect();
                    failed.sort_unstable();
                    prop_assert_eq!(failed, expected);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn tags_tell_clients_apart() {
    let (mut route, now) = (Route::default(), Duration::ZERO);
    let generation = route.attach(now).generation;
    let clients = [route.enter(false), route.enter(false)];
    let opened = route.forward(clients[0], &request("open", 6), 0, now).unwrap();
    let mut tags = Vec::new();
    for _ in 0..2 {
        for client in clients {
            tags.push(route.forward(client, &request("read", 7), 0, now).unwrap().0);
        }
    }
    let (peek, text) = reply("open", opened, r#"{"h":5}"#);
    route.answer(generation, &peek, &text);
    let whose: Vec<_> = tags.iter().map(|tag| tag >> CLIENT_TAG_BITS).collect();
    assert!(whose[0] == whose[2] && whose[1] == whose[3] && whose[0] != whose[1]);
    assert!(whose.iter().all(|client| *client > 0) && tags.iter().all(|tag| *tag < 1 << 31));
    route.leave(clients[0]);
    let close = route.next_close(now).unwrap();
    assert_eq!(
        close.tag.0 >> CLIENT_TAG_BITS,
        whose[0],
        "in order with what it asked"
    );
}
