//! A future that is kept apart, in a box, and made where it stays.
//!
//! `Box::pin` gets its future by value and may still fail, so that it is made on the stack first and copied as a whole: all
//! that it will ever hold, of which nearly nothing is there yet. Of a call that is thousands of bytes of memory which many
//! calls at once find in no cache. Where the box is there before the future is, only what is there of it need be written. So
//! is it for what every call is; what few calls come to is in a `Box::pin` where it begins, for the others to be small.

use std::pin::Pin;

/// Boxes the future that `make` gives.
pub(crate) fn apart<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let place = Box::new_uninit();
    Box::into_pin(Box::write(place, make()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::apart;

    #[tokio::test]
    async fn it_is_the_future_that_was_made() {
        let made = Cell::new(0);
        let future = apart(|| {
            made.set(made.get() + 1);
            async { made.get() }
        });
        assert_eq!((made.get(), future.await), (1, 1));
    }
}
