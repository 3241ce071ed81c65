//! What e-mails say.

use domain::notification::Letter;
use event_schemas::Published;
use event_schemas::order::{OrderCancelled, OrderConfirmed, OrderCreated};
use event_schemas::payment::{PaymentFailed, PaymentRefunded, PaymentSuccess};
use event_schemas::user::UserRegistered;

/// Subject and text of a letter to somebody of this name.
pub(crate) fn of(letter: &Letter, name: &str) -> (String, String) {
    let order = letter.order_id.map(|id| format!("order {id}")).unwrap_or_else(|| "order".to_owned());
    let (subject, says) = match letter.template.as_str() {
        UserRegistered::TYPE => ("Welcome to Sagashop".to_owned(), "your account is ready.".to_owned()),
        OrderCreated::TYPE => {
            ("We have your order".to_owned(), format!("we have received your {order} and are working on it."))
        }
        OrderConfirmed::TYPE => ("Your order is confirmed".to_owned(), format!("your {order} is confirmed.")),
        OrderCancelled::TYPE => {
            ("Your order is cancelled".to_owned(), format!("your {order} is cancelled. You owe nothing for it."))
        }
        PaymentSuccess::TYPE => {
            ("We have your payment".to_owned(), format!("the payment of your {order} has arrived."))
        }
        PaymentFailed::TYPE => {
            ("Your payment did not go through".to_owned(), format!("the payment of your {order} did not go through."))
        }
        PaymentRefunded::TYPE => (
            "Your payment is returned".to_owned(),
            format!("whatever was charged for your {order} has been paid back."),
        ),
        // A letter queued by a newer version of the shop: better plain words than none.
        _ => ("News from Sagashop".to_owned(), format!("there is news of your {order}.")),
    };
    (subject, format!("Hello {name},\n\n{says}\n\nSagashop\n"))
}

#[cfg(test)]
mod tests {
    use domain::notification::Channel;
    use kernel::{OrderId, UserId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_letter_names_the_customer_and_the_order() {
        let order_id = OrderId(Uuid::from_u128(7));
        let letter = |template: &str| Letter {
            channel: Channel::Email,
            recipient: UserId(Uuid::from_u128(1)),
            template: template.to_owned(),
            order_id: Some(order_id),
        };
        for template in ["order_created", "order_confirmed", "order_cancelled", "payment_success", "payment_failed"] {
            let (subject, text) = of(&letter(template), "Ada");
            assert!(!subject.starts_with("News"), "{template} has no text");
            assert!(text.starts_with("Hello Ada,") && text.contains(&order_id.to_string()), "{text}");
        }
        assert_eq!(of(&letter("of_tomorrow"), "Ada").0, "News from Sagashop");
    }
}
