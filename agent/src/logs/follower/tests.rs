use super::*;

fn line(at: &str, stream: &str, text: &str) -> String {
    let log = serde_json::to_string(text).expect("a string");
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"2026-01-02T03:04:{at}Z\"}}\n")
}

fn cut() -> Cut {
    Cut { most: 1 << 20, now_ms: 1_767_323_045_000, whole: false, over: false }
}

fn messages(taken: &Taken) -> Vec<&str> {
    taken.events.iter().map(|event| event.message.as_str()).collect()
}

#[test]
fn lines_become_events_with_their_times_and_empty_ones_none() {
    let text =
        line("05.678901234", "stdout", "a \"quote\"\n") + &line("06", "stderr", "\n") + &line("06", "stdout", "ß\n");
    let taken = take((text.clone() + "{\"log\":\"cut").as_bytes(), cut(), "c", &mut Clock::default());
    assert_eq!((messages(&taken), taken.bytes), (vec!["a \"quote\"", "ß"], text.len()));
    assert_eq!(taken.events[0].at_ms, 1_767_323_045_678);
    let odd = take(b"\0\0\0\n{}\n", cut(), "c", &mut Clock::default());
    assert_eq!((odd.events.len(), odd.bytes), (0, 7), "{odd:?}");
}

#[test]
fn long_lines_come_whole_and_nothing_is_cut_in_the_middle_of_one() {
    let half = "x".repeat(16_384);
    let first = line("05", "stdout", "before\n");
    let text =
        [first.clone(), line("05", "stdout", &half), line("05", "stderr", "between\n"), line("05", "stdout", &half)]
            .concat();
    let taken = take(text.as_bytes(), cut(), "c", &mut Clock::default());
    assert_eq!((messages(&taken), taken.bytes), (vec!["before"], first.len()), "it goes on where no line is in parts");
    let whole = text.clone() + &line("05", "stdout", "end\n");
    let taken = take(whole.as_bytes(), cut(), "c", &mut Clock::default());
    assert_eq!(messages(&taken), ["before", "between", &format!("{half}{half}end")]);
    // The rest never comes.
    for late in [Cut { now_ms: cut().now_ms + 10_000, ..cut() }, Cut { over: true, ..cut() }] {
        let taken = take(text.as_bytes(), late, "c", &mut Clock::default());
        assert_eq!((taken.events.len(), taken.bytes), (3, text.len()), "{late:?}");
    }
    let huge = line("05", "stdout", &half).repeat(40) + &line("05", "stdout", "end\n");
    let taken = take(huge.as_bytes(), cut(), "c", &mut Clock::default());
    let sizes: Vec<usize> = taken.events.iter().map(|e| e.message.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 40 * 16_384 + 3);
    assert!(sizes.iter().all(|size| *size <= MOST_MESSAGE), "{sizes:?}");
}

#[test]
fn a_container_that_is_gone_is_not_followed_for_ever() {
    let target = Target { region: "r".into(), group: "g".into(), stream: "s".into() };
    let new = || Follower::new("ls-a".into(), target.clone(), "/nowhere".into(), true);
    let now = Instant::now();
    let mut follower = new();
    assert!(follower.gone(now) && follower.gone(now + LONGEST / 2));
    assert!(!follower.gone(now + LONGEST), "its output could not be shipped");

    let mut follower = new();
    assert!(follower.gone(now));
    follower.listed(true);
    assert!(follower.gone(now + LONGEST), "it was there again");
    let chunk = follower.next(1, &mut Vec::new(), 0).expect("it is asked");
    follower.answered(&chunk, Answer::Refused("no such group".into()));
    assert!(!follower.gone(now + LONGEST));

    let mut follower = new();
    assert!(follower.gone(now));
    follower.answered(&chunk, Answer::At(Vec::new()));
    assert_eq!(follower.next(1, &mut Vec::new(), 0), None, "there is no file");
    assert!(!follower.gone(now));
}

#[test]
fn a_chunk_has_about_as_much_as_asked() {
    let text = line("05", "stdout", "0123456789\n").repeat(100);
    let taken = take(text.as_bytes(), Cut { most: 360, ..cut() }, "c", &mut Clock::default());
    assert_eq!((taken.events.len(), taken.bytes), (10, text.len() / 10));
}
