//! The whole table: every input in every state, and every transition that can be reached.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use super::*;

/// All inputs about an order of one line; those that may be given without harm to what they are fed to.
fn inputs() -> Vec<In> {
    let cancelled = [In::OrderConfirmed, In::OrderCancelled, In::CancelRequested, In::Timeout];
    let stock = [reserved(1), rejected(1), committed(1), released(1)];
    let payment = [paid(), declined(), In::PaymentRefunded, refund_failed()];
    let operator = [retry(), skip(), cancel(), pause(), resume()];
    let restarts = CommandKind::ALL.map(restart);
    [created(order(&[1]))]
        .into_iter()
        .chain(stock)
        .chain(payment)
        .chain(cancelled)
        .chain(operator)
        .chain(restarts)
        .collect()
}

fn named(kind: &In) -> String {
    match kind {
        In::OperatorRestart { from, .. } => format!("{} from {from}", kind.trigger().as_str()),
        kind => kind.trigger().as_str().to_owned(),
    }
}

#[test]
fn every_input_in_every_state() {
    let stuck = |story: Story| story.gets_stuck();
    let states = [
        ("not_started", Story::default()),
        ("reserving", Story::of_lines(1)),
        ("reserving, two lines", Story::of_lines(2)),
        ("charging", Story::of_lines(1).on(reserved(1))),
        ("completing", Story::paid()),
        ("completing, all but the line", Story::paid().on(In::OrderConfirmed)),
        ("completing, all but the order", Story::paid().on(committed(1))),
        ("completed", Story::completed()),
        ("compensating, card declined", Story::of_lines(1).on(reserved(1)).on(declined())),
        ("compensating, charge in doubt", Story::compensating()),
        ("compensating, paid", Story::paid().on(In::CancelRequested)),
        ("compensating, all but the line", Story::compensating().on(In::PaymentRefunded)),
        ("compensating, all but the payment", Story::compensating().on(released(1))),
        (
            "compensating, order cancelled before",
            Story::of_lines(1).on(rejected(1)).on(In::OrderCancelled).on(reserved(1)),
        ),
        ("cancelling, line rejected", Story::of_lines(1).on(rejected(1))),
        ("cancelling, undone", Story::compensating().on(released(1)).on(In::PaymentRefunded)),
        ("cancelled, line rejected", Story::of_lines(1).on(rejected(1)).on(In::OrderCancelled)),
        ("cancelled, undone", Story::cancelled()),
        ("stuck completing", stuck(Story::paid())),
        ("stuck completing, all but the line", stuck(Story::paid().on(In::OrderConfirmed))),
        ("stuck compensating", stuck(Story::compensating())),
        ("stuck compensating, all but the payment", stuck(Story::compensating().on(released(1)))),
        ("stuck cancelling", stuck(Story::of_lines(1).on(rejected(1)))),
        (
            "cancelled, the refund skipped",
            stuck(Story::compensating().on(released(1))).on(skip()).on(In::OrderCancelled),
        ),
        ("paused reserving", Story::of_lines(1).on(pause())),
        (
            "paused completing, with the line's answer",
            Story::paid().on(In::OrderConfirmed).on(pause()).on(committed(1)),
        ),
    ];
    let mut seen = BTreeSet::new();
    let mut table = String::new();
    for (name, mut story) in states {
        seen.insert(story.saga.state());
        // Whatever is waited for is due, so that the timer matters.
        story.now = story.saga.steps().iter().filter_map(|step| step.due).max().unwrap_or(story.now);
        writeln!(table, "{name}").unwrap();
        let mut nothing = Vec::new();
        for kind in inputs() {
            let on = named(&kind);
            match story.clone().try_on(kind) {
                Err(error) => writeln!(table, "    {on}: refused, {error}").unwrap(),
                Ok(story) if story.last.is_empty() => nothing.push(on),
                Ok(story) => {
                    let asked: Vec<_> = story.last.iter().filter_map(issued).map(words).collect();
                    let arrow = if asked.is_empty() { "" } else { ": " };
                    writeln!(table, "    {on} -> {}{arrow}{}", story.saga.state(), asked.join(", ")).unwrap();
                }
            }
        }
        writeln!(table, "    nothing: {}", nothing.join(", ")).unwrap();
    }
    assert_eq!(seen.len(), 10, "a state is missing from the table");
    insta::assert_snapshot!("every_input_in_every_state", table);
}

/// A saga without its times, so that walks that differ by them alone are one.
fn shape(saga: &OrderFulfilment) -> String {
    let steps = saga.steps().iter().map(|step| {
        format!("{}/{} {:?} {} {}", step.id, step.direction, step.status, step.attempt, step.due.is_some())
    });
    let mut steps: Vec<_> = steps.collect();
    steps.sort();
    format!("{:?} {steps:?} {:?} {:?}", saga.lane, saga.paused_at().is_some(), saga.kept())
}

/// Walks through every saga of these lines, up to so many inputs deep, and notes what it sees.
fn walk(lines: usize, depth_max: usize, seen: &mut BTreeMap<(State, Trigger), BTreeSet<State>>) -> usize {
    let mut inputs = inputs();
    if lines > 1 {
        inputs.extend([reserved(2), rejected(2), committed(2), released(2)]);
    }
    let mut known = BTreeSet::new();
    let mut next = VecDeque::from([(0, OrderFulfilment::default())]);
    while let Some((depth, saga)) = next.pop_front() {
        // One message is enough to tell what a saga that goes on may do with those that came.
        if depth == depth_max || saga.kept().len() > 1 || !known.insert(shape(&saga)) {
            continue;
        }
        let due = saga.steps().iter().filter_map(|step| step.due).max().unwrap_or_else(start);
        for kind in inputs.iter().chain(&[created(order(&vec![1; lines]))]) {
            let at = if *kind == In::Timeout { due } else { start() };
            let Ok(Idempotent::Executed(mut events)) = saga.decide(Input { at, kind: kind.clone() }) else { continue };
            for event in &mut events {
                if let Event::SagaStarted { definition_version, .. } = event {
                    *definition_version = IMPATIENT.version;
                }
            }
            let mut after = saga.clone();
            events.into_iter().for_each(|event| cqrs_es::Aggregate::apply(&mut after, event));
            seen.entry((saga.state(), kind.trigger())).or_default().insert(after.state());
            next.push_back((depth + 1, after));
        }
    }
    known.len()
}

#[test]
fn the_table_holds_what_can_happen_and_nothing_else() {
    let mut seen = BTreeMap::new();
    let all_of_one_line = walk(1, usize::MAX, &mut seen);
    walk(2, 7, &mut seen);
    assert!(all_of_one_line > 100, "{all_of_one_line}");
    // An order of nothing goes to its end at once.
    let nothing = Story::of_lines(0);
    seen.entry((NotStarted, OrderCreated)).or_default().insert(nothing.saga.state());

    let table = TRANSITIONS.iter().map(|(from, on, to)| ((*from, *on), to.iter().copied().collect()));
    let table: BTreeMap<_, BTreeSet<_>> = table.collect();
    assert_eq!(table.len(), TRANSITIONS.len(), "a row is there twice");
    let rows = |table: &BTreeMap<(State, Trigger), BTreeSet<State>>| -> BTreeSet<String> {
        table.iter().map(|((from, on), to)| format!("{from:?} {on:?} {to:?}")).collect()
    };
    let (table, seen) = (rows(&table), rows(&seen));
    let (unseen, unlisted): (Vec<_>, Vec<_>) = (table.difference(&seen).collect(), seen.difference(&table).collect());
    assert!(unseen.is_empty() && unlisted.is_empty(), "the table has {unseen:#?}, seen is {unlisted:#?}");
}

#[test]
fn the_drawing_shows_the_table() {
    let drawing = mermaid(Definition::of_version(CURRENT_VERSION).unwrap());
    let mut arrows = 0;
    for (from, on, to) in TRANSITIONS {
        for to in *to {
            let from = if *from == NotStarted { "[*]" } else { from.as_str() };
            let arrow = drawing.lines().find(|line| line.trim().starts_with(&format!("{from} --> {to} : ")));
            let labels: Vec<_> = arrow.and_then(|line| line.split_once(" : ")).unwrap().1.split(", ").collect();
            assert!(labels.contains(&on.as_str()), "{from} {on:?} {to}");
            arrows += 1;
        }
    }
    let drawn = drawing.lines().filter(|line| line.contains("-->") && line.contains(" : "));
    assert_eq!(drawn.map(|line| line.split(", ").count()).sum::<usize>(), arrows);
    insta::assert_snapshot!("mermaid", drawing);
}
