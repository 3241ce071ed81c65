use domain::notification::Channel;
use kernel::{Currency, Money, OrderId, UserId};
use uuid::Uuid;

use super::*;

fn letter(template: &str) -> Letter {
    Letter {
        channel: Channel::Email,
        recipient: UserId(Uuid::from_u128(1)),
        template: template.to_owned(),
        order_id: Some(OrderId(Uuid::from_u128(7))),
        webhook_id: None,
        amount: Some(Money::new(2_050, Currency::EUR)),
        reason: None,
    }
}

/// All of it, as one text for a snapshot.
fn shown(letter: &Letter, name: &str) -> String {
    let Rendered { subject, text, html } = render(letter, name).unwrap();
    format!("{subject}\n\n{text}\n\n{html}")
}

#[test]
fn every_kind_has_its_words() {
    let reason = |template, reason: &str| Letter { reason: Some(reason.into()), ..letter(template) };
    let welcome = Letter { order_id: None, amount: None, ..letter("user_registered") };
    insta::assert_snapshot!("user_registered", shown(&welcome, "Ada"));
    insta::assert_snapshot!("order_created", shown(&letter("order_created"), "Ada"));
    insta::assert_snapshot!("order_confirmed", shown(&letter("order_confirmed"), "Ada"));
    insta::assert_snapshot!("order_cancelled", shown(&reason("order_cancelled", "out_of_stock"), "Ada"));
    insta::assert_snapshot!("payment_success", shown(&letter("payment_success"), "Ada"));
    insta::assert_snapshot!("payment_failed", shown(&reason("payment_failed", "insufficient_funds"), "Ada"));
    insta::assert_snapshot!("payment_refunded", shown(&letter("payment_refunded"), "Ada"));
    insta::assert_snapshot!("of_tomorrow", shown(&letter("of_tomorrow"), "Ada"));
}

#[test]
fn what_people_wrote_stays_text() {
    let name = "Eve <script>alert(\"1\")</script> & 'Co'\r\nBcc: all@example.org\r\n\r\n{{ order_id }}";
    let reason = "<img src=x onerror=alert(1)>\n\"quoted\" {% raw %}".into();
    let hostile = Letter { reason: Some(reason), ..letter("order_cancelled") };
    let shown = shown(&hostile, name);
    let html = &shown[shown.find("<!doctype").unwrap()..];
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    assert!(!shown.contains("\nBcc:") && shown.contains("{{ order_id }}"), "{shown}");
    insta::assert_snapshot!("hostile", shown);
}

#[test]
fn every_kind_of_the_domain_has_a_template() {
    for kind in domain::notification::Kind::ALL {
        let Rendered { subject, text, html } = render(&letter(kind.as_str()), "Ada").unwrap();
        assert!(!subject.starts_with("News") && !subject.is_empty(), "{kind:?}");
        assert!(text.starts_with("Hello Ada,") && text.ends_with("Sagashop"), "{text}");
        assert!(html.starts_with("<!doctype html>") && html.contains("Hello Ada,"), "{html}");
    }
}

#[test]
fn a_name_is_one_short_line() {
    assert_eq!(one_line(" \r\n\t "), "customer");
    assert_eq!(one_line("Zoë\0 \u{85}Ng"), "Zoë Ng");
    assert_eq!(one_line(&"x".repeat(500)).len(), NAME_CHARS_MAX);
}

#[test]
fn reasons_are_told_in_words() {
    assert_eq!(in_words("out_of_stock"), "there are not enough in stock");
    assert_eq!(in_words("fraud_suspected"), "fraud suspected");
    assert_eq!(in_words("I changed my mind."), "I changed my mind");
}
