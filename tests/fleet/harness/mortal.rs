//! A process's main future, which can die at any of its awaits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

/// Counts the polls that a process has left; 0 while it lives on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fuse(Arc<AtomicU32>);

impl Fuse {
    /// The process dies before its `polls`th poll from now on.
    pub(crate) fn light(&self, polls: u32) {
        self.0.store(polls.max(1), Ordering::Relaxed);
    }
}

/// Ends with `None`, and drops what it holds, when its fuse has burnt down.
pub(crate) struct Mortal<F> {
    inner: Option<Pin<Box<F>>>,
    fuse: Fuse,
}

impl<F: Future> Mortal<F> {
    pub(crate) fn new(inner: F, fuse: Fuse) -> Self {
        Self { inner: Some(Box::pin(inner)), fuse }
    }
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.fuse.0.load(Ordering::Relaxed) {
            0 => {}
            1 => {
                self.inner = None;
                return Poll::Ready(None);
            }
            left => self.fuse.0.store(left - 1, Ordering::Relaxed),
        }
        match self.inner.as_mut() {
            Some(inner) => inner.as_mut().poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    }
}
