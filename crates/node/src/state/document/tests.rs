use proptest::prelude::*;

use super::*;
use crate::state::{Opened, StateFile};

const FRESH: &str = concat!(
    r#"{"schema":1,"services":[{"service_id":"terminal-1","runtime":{"enabled":true,"restarts_total":0,"#,
    r#""last_control_ms":0,"last_control_op":"init","config_json":"{}","cooldown_until_ms":0,"#,
    r#""supervision":{"max_consecutive_failures":0,"max_consecutive_timeouts":0,"cooldown_ms":0,"#,
    r#""auto_disable_on_threshold":true}},"stats":{"invokes_total":0,"failures_total":0,"#,
    r#""consecutive_failures":0,"timeouts_total":0,"consecutive_timeouts":0,"last_duration_ms":0,"#,
    r#""last_started_ms":0,"last_finished_ms":0,"last_exit_code":0},"result_json":"{\"state\":\"idle\"}","#,
    r#""status_json":"{\"state\":\"idle\"}","last_error":""}]}"#
);

fn id(id: &str) -> ServiceId {
    ServiceId::new(id).unwrap()
}

fn parsed(text: &str) -> Vec<(ServiceId, Saved)> {
    let restored = parse(text.as_bytes());
    assert_eq!(restored.fault, None);
    restored.services
}

#[test]
fn a_fresh_service_is_stored_as_recorded() {
    let services = [(id("terminal-1"), fresh())];
    assert_eq!(render(Dialect::Seed, &services), FRESH);
    assert_eq!(parsed(FRESH), services);
    let head = FRESH
        .replace("services", "venoms")
        .replace("service_id", "venom_id");
    assert_eq!(render(Dialect::Head, &services), head);
    assert_eq!(parsed(&head), services);
}

#[test]
fn what_is_absent_is_fresh() {
    assert_eq!(parsed(r#"{"schema":1}"#), []);
    assert_eq!(
        parsed(r#"{"services":[{"service_id":"a"}]}"#),
        [(id("a"), fresh())]
    );
    assert_eq!(
        parsed(r#"{"services":[{"service_id":"a","runtime":{},"stats":{},"later":5}]}"#),
        [(id("a"), fresh())]
    );
}

#[test]
fn the_policy_of_the_config_counts_unless_one_is_stored() {
    let text = r#"{"services":[{"service_id":"a","runtime":{"config_json":" {\"x\":1.0,\"supervision\":{\"cooldown_ms\":5}}"}}]}"#;
    let (_, saved) = parsed(text).remove(0);
    assert_eq!(saved.config, r#"{"x":1,"supervision":{"cooldown_ms":5}}"#);
    assert_eq!(saved.policy.cooldown_ms, 5);
    let text = text.replace("}}\"}}", "}}\",\"supervision\":{\"cooldown_ms\":7}}}");
    assert_eq!(parsed(&text).remove(0).1.policy.cooldown_ms, 7);
}

#[test]
fn a_fault_stops_there_and_says_where() {
    for (element, fault) in [
        (
            r#"{"service_id":"b","runtime":5}"#,
            "services[1]: runtime is a number, not an object",
        ),
        (
            r#"{"service_id":"b","stats":{"invokes_total":-1}}"#,
            "services[1]: invokes_total is a number, not an integer from 0",
        ),
        (
            r#"{"service_id":"b","runtime":{"config_json":"["}}"#,
            "services[1]: config_json: line 1, column 2: the text ends too early",
        ),
        (
            r#"{"service_id":"b","result_json":null}"#,
            "services[1]: result_json is null, not a string",
        ),
        (
            r#"{"service_id":"b","result_b64":"*"}"#,
            "services[1]: result_b64 is not base64",
        ),
        (r#"{"service_id":"b c"}"#, "services[1]: has no valid id"),
        ("5", "services[1]: it is a number, not an object"),
    ] {
        let text = format!(r#"{{"services":[{{"service_id":"a"}},{element},{{"service_id":"c"}}]}}"#);
        let restored = parse(text.as_bytes());
        assert_eq!(restored.services, [(id("a"), fresh())]);
        assert_eq!(restored.fault.as_deref(), Some(fault));
    }
    for (text, fault) in [
        ("{", "line 1, column 2: the text ends too early"),
        ("[]", "is an array, not an object"),
        (r#"{"schema":2}"#, "has schema 2, this node reads 1"),
        (r#"{"services":{}}"#, "services is an object, not an array"),
    ] {
        let restored = parse(text.as_bytes());
        assert_eq!(
            (restored.services, restored.fault.as_deref()),
            (Vec::new(), Some(fault))
        );
    }
}

#[test]
fn what_would_not_be_read_back_is_left_out() {
    let large = Saved {
        result: vec![b'x'; 5000].into(),
        last_error: vec![b'y'; 100].into(),
        ..fresh()
    };
    let small = Saved {
        result: "small".into(),
        ..fresh()
    };
    let services = [
        (id("a"), small.clone()),
        (id("b"), large.clone()),
        (id("c"), fresh()),
    ];
    let all = render_within(Dialect::Seed, &services, usize::MAX);
    let text = render_within(Dialect::Seed, &services, 4000);
    assert!(all.len() > 5000 && text.len() < 4000);
    let restored = parsed(&text);
    assert_eq!(restored[0].1, small);
    assert_eq!(restored[1].1, fresh());
}

#[test]
fn a_document_with_a_fault_is_restored_as_far_as_it_goes_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json.runtime-services.json");
    let text = r#"{"services":[{"service_id":"a"},5]}"#;
    std::fs::write(&path, text).unwrap();
    let open = || StateFile::open(&path, MAX_DOCUMENT, 1, |text| parse(text).into()).unwrap();
    let mut opened: Opened<Vec<_>> = open();
    let services = opened.contents.unwrap();
    assert_eq!(services, [(id("a"), fresh())]);
    assert_eq!(
        std::fs::read_to_string(opened.set_aside.unwrap().path).unwrap(),
        text
    );
    opened
        .file
        .write(render(Dialect::Seed, &services).as_bytes())
        .unwrap();
    let again = open();
    assert_eq!((again.contents.unwrap(), again.set_aside), (services, None));
}

prop_compose! {
    fn any_saved()(
        flags in any::<(bool, bool)>(),
        numbers in prop::collection::vec(0..=i64::MAX as u64, 14),
        exit_code: i64,
        op in 0..ControlOp::ALL.len(),
        config in "\\PC{0,8}",
        texts in prop::array::uniform3(prop_oneof![
            "\\PC{0,20}|[\\x00-\\x7f]{0,20}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..20),
        ]),
    ) -> Saved {
        let [result, status, last_error] = texts.map(Into::into);
        Saved {
            enabled: flags.0,
            restarts_total: numbers[0],
            last_control_ms: numbers[1],
            last_control_op: ControlOp::ALL[op],
            config: ObjectWriter::new().text("note", &config).finish(),
            cooldown_until_ms: numbers[2],
            policy: Policy {
                max_consecutive_failures: numbers[3],
                max_consecutive_timeouts: numbers[4],
                cooldown_ms: numbers[5],
                auto_disable_on_threshold: flags.1,
            },
            stats: Stats {
                invokes_total: numbers[6],
                failures_total: numbers[7],
                consecutive_failures: numbers[8],
                timeouts_total: numbers[9],
                consecutive_timeouts: numbers[10],
                last_duration_ms: numbers[11],
                last_started_ms: numbers[12],
                last_finished_ms: numbers[13],
                last_exit_code: exit_code,
            },
            result,
            status,
            last_error,
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_stored_is_restored(saved in prop::collection::vec(any_saved(), 0..4), is_head: bool) {
        let services: Vec<_> = saved
            .into_iter()
            .enumerate()
            .map(|(index, saved)| (id(&format!("s{index}")), saved))
            .collect();
        let dialect = if is_head { Dialect::Head } else { Dialect::Seed };
        prop_assert_eq!(parsed(&render(dialect, &services)), services);
    }

    #[test]
    fn no_bytes_make_it_fall_over(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }
}
