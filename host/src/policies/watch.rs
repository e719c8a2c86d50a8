//! Follows what is asked for, and makes it ready beside the loop.
//!
//! In: rules, labels and files, looked at each second. Out: news for the loop, of policies and of the
//! labels that they see.
//! Must hold: the same wish is tried once, be it good or bad, unless its bytes were out of reach; a
//! node starts without waiting for a registry or an API server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use onsen_core::event::Event;
use onsen_core::snapshot::{Setting, Snapshot};
use onsen_core::time::Millis;
use onsen_policy_runner::builtin;
use onsen_policy_runner::reference::Reference;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::fetch::{Component, Fetcher, Trouble};
use super::keep::{Keep, Kept, LastGood};
use super::life::{Birth, Life};
use super::trial::Trial;
use super::wish::{Ask, Place, Sources, Wish};
use super::{Candidate, Chosen, DEFAULT, News};
use crate::clock::millis;
use crate::requests::{Mailbox, Message};
use crate::settings::Settings;

/// A new policy is tried on so many.
const SEEN: usize = 8;
const PERIOD: Duration = Duration::from_secs(1);
/// What was out of reach is tried again after this long.
const AGAIN: Duration = Duration::from_secs(30);

/// The last snapshots, oldest first: what a new policy is tried on.
pub(crate) type Seen = Vec<Arc<Snapshot>>;

/// Remembers one more.
pub(crate) fn see(seen: &mut Seen, snapshot: &Arc<Snapshot>) {
    if seen.len() == SEEN {
        seen.remove(0);
    }
    seen.push(Arc::clone(snapshot));
}

/// Makes policies out of what the operator asks for.
pub(crate) struct Watcher {
    sources: Sources,
    /// The labels that the core knows.
    labels: Vec<Setting>,
    fetcher: Fetcher,
    trial: Trial,
    keep: Keep,
    tried: Option<Result<Wish, String>>,
    /// When the wish that was tried last is tried again.
    again: Option<Instant>,
    probation: Millis,
}

impl Watcher {
    /// Loads the built-in default, without which nothing starts. Blocks while it compiles.
    pub(crate) fn new(settings: &Settings, sources: Sources) -> Result<Self, String> {
        let trial = Trial::new(settings.cache_dir.clone())?;
        Ok(Self {
            labels: Vec::new(),
            sources,
            fetcher: Fetcher::new(settings, trial.limits().component_bytes),
            trial,
            keep: Keep::new(settings.cache_dir.clone()),
            tried: None,
            again: None,
            probation: millis(settings.policy_watch),
        })
    }

    /// What runs at the start: the wish when its bytes are on this machine, else the last good policy,
    /// else the built-in default.
    pub(crate) async fn first(mut self, now: Millis) -> Result<(Self, Life), String> {
        let built_in = Candidate {
            policy: self.trial.built_in(),
            reference: Reference::BuiltIn(DEFAULT.into()),
            settings: self.sources.environment().clone(),
            wasm: Arc::new(
                builtin::get(DEFAULT)
                    .map_err(|absent| absent.to_string())?
                    .into(),
            ),
            key: None,
            load: Duration::ZERO,
        };
        let (this, (kept, last_good, wish)) = beside(self, |this| {
            let kept = this.kept();
            let last_good = this.last_good(&kept);
            this.labels = this.sources.shown().unwrap_or_default();
            (kept, last_good, this.sources.read())
        })
        .await?;
        self = this;
        let mut granted = None;
        let mut last_error = None;
        // The loop asks again as soon as there is something to ask for, and fetches what is far.
        let wish = wish.transpose();
        if let Some(wish) = wish.filter(|wish| !wish.as_ref().is_ok_and(|it| is_far(it, &kept))) {
            let (this, news) = self.try_out(wish, Vec::new()).await?;
            self = this;
            match news {
                News::Changed(chosen) => granted = Some(*chosen),
                News::Refused(why) => last_error = Some(why),
            }
        }
        let chosen = granted.unwrap_or_else(|| Chosen {
            candidate: last_good.clone().unwrap_or_else(|| built_in.clone()),
            rule: None,
            shadow: None,
        });
        if let Some(why) = &last_error {
            tracing::error!(
                "{} runs instead of the chosen policy: {why}",
                chosen.candidate.reference
            );
        }
        let birth = Birth {
            chosen,
            built_in,
            last_good,
            last_error,
            keep: self.keep.clone(),
            kept,
            probation: self.probation,
            fuel_limit: self.trial.limits().fuel,
        };
        Ok((self, Life::new(birth, now)))
    }

    /// The labels that policies see at the start.
    pub(crate) fn labels(&self) -> Vec<Setting> {
        self.labels.clone()
    }

    /// Out of the files it is kept in.
    fn last_good(&self, kept: &Kept) -> Option<Candidate> {
        let good = kept.last_good.as_ref()?;
        let (reference, wasm) = self.keep.component(good)?;
        let key = good.key.clone();
        let component = Component { wasm, key };
        let ask = Ask {
            reference,
            settings: good.settings.clone(),
            own: BTreeSet::new(),
            place: Place::Named,
        };
        self.trial
            .make(&ask, component, &[])
            .inspect_err(|why| tracing::warn!("the last good policy does not run any more: {why}"))
            .ok()
    }

    /// Fetches and tries a wish. Gives itself back, since trying happens on another thread.
    async fn try_out(
        mut self,
        wish: Result<Wish, String>,
        seen: Seen,
    ) -> Result<(Self, News), String> {
        self.tried = Some(wish.clone());
        self.again = None;
        let wish = match wish {
            Ok(wish) => wish,
            Err(why) => return Ok((self, News::Refused(why))),
        };
        let (this, kept) = beside(self, |this| this.kept()).await?;
        self = this;
        let component = match self.component(&wish.policy, &kept).await {
            Ok(component) => component,
            Err(trouble) => {
                let why = self.note(trouble);
                return Ok((self, News::Refused(why)));
            }
        };
        let mut shadow = None;
        if let Some(ask) = wish.shadow {
            let fetched = self.component(&ask, &kept).await;
            let fetched = fetched.map_err(|trouble| self.note(trouble));
            shadow = Some((ask, fetched));
        }
        beside(self, move |this| {
            let made = this.trial.make(&wish.policy, component, &seen);
            let candidate = match made {
                Ok(candidate) => candidate,
                Err(why) => return News::Refused(why),
            };
            if let Some(bad) = kept.rolled_back.filter(|bad| bad.is(&candidate)) {
                return News::Refused(format!(
                    "policy {} was rolled back before: {}; change its reference or settings to try it again",
                    candidate.reference, bad.why
                ));
            }
            let shadow = shadow
                .map(|(ask, fetched)| fetched.and_then(|component| this.trial.make(&ask, component, &seen)));
            let running = shadow.as_ref().and_then(|shadow| shadow.as_ref().ok());
            this.trial.remember(&candidate, running);
            News::Changed(Box::new(Chosen {
                candidate,
                rule: wish.rule,
                shadow,
            }))
        })
        .await
    }

    /// What is on disk, without a policy that nobody vouches for any more: the key may be new.
    fn kept(&self) -> Kept {
        let mut kept = self.keep.load();
        kept.last_good = kept.last_good.filter(|good| {
            let trusted = self.fetcher.trusts(good);
            if !trusted {
                tracing::warn!(
                    "the last good policy {} was not checked with the key in force",
                    good.reference
                );
            }
            trusted
        });
        kept
    }

    /// The component; one that is kept need not be fetched again.
    async fn component(&self, ask: &Ask, kept: &Kept) -> Result<Component, Trouble> {
        if let Some(good) = kept.last_good.as_ref().filter(|good| is_pinned(ask, good)) {
            let (keep, it) = (self.keep.clone(), good.clone());
            let found = tokio::task::spawn_blocking(move || keep.component(&it)).await;
            if let Ok(Some((_, wasm))) = found {
                let key = good.key.clone();
                return Ok(Component { wasm, key });
            }
        }
        self.fetcher.get(ask).await
    }

    /// What is out of reach is tried again.
    fn note(&mut self, trouble: Trouble) -> String {
        match trouble {
            Trouble::Refused(why) => why,
            Trouble::Unavailable(why) => {
                self.again = Some(Instant::now() + AGAIN);
                why
            }
        }
    }

    /// Looks again for as long as the loop listens.
    pub(crate) async fn watch(self, seen: watch::Receiver<Seen>, mailbox: Mailbox) {
        if let Err(why) = self.watching(seen, mailbox).await {
            tracing::error!("the watcher of the policy is lost, changes need a restart: {why}");
        }
    }

    async fn watching(
        mut self,
        seen: watch::Receiver<Seen>,
        mailbox: Mailbox,
    ) -> Result<(), String> {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        loop {
            ticks.tick().await;
            let (this, (shown, wish)) =
                beside(self, |this| (this.sources.shown(), this.sources.read())).await?;
            self = this;
            // Before a policy that is chosen by the same change.
            if let Some(labels) = shown.filter(|labels| *labels != self.labels) {
                self.labels.clone_from(&labels);
                let event = Event::LabelsChanged(labels);
                if mailbox.send(Message::Happened(event)).is_err() {
                    return Ok(());
                }
            }
            let Some(wish) = wish.transpose() else {
                continue;
            };
            let is_due = self.again.is_some_and(|at| Instant::now() >= at);
            if self.tried.as_ref() == Some(&wish) && !is_due {
                continue;
            }
            let is_again = self.tried.as_ref() == Some(&wish);
            let last = seen.borrow().clone();
            let (this, news) = self.try_out(wish, last).await?;
            self = this;
            // What is still out of reach was told already.
            let why = match &news {
                News::Refused(why) => Some(why.clone()),
                News::Changed(_) => None,
            };
            let is_old = is_again && why.is_some() && why == told;
            told = why;
            if !is_old && mailbox.send(Message::Policy(Box::new(news))).is_err() {
                return Ok(());
            }
        }
    }
}

/// Whether this is the policy that is kept: a reference with a digest never means another.
fn is_pinned(ask: &Ask, kept: &LastGood) -> bool {
    matches!(ask.reference, Reference::Oci(_)) && ask.reference.to_string() == kept.reference
}

/// Whether its bytes are not on this machine.
fn is_far(wish: &Wish, kept: &Kept) -> bool {
    let ask = &wish.policy;
    matches!(ask.reference, Reference::Oci(_))
        && !kept
            .last_good
            .as_ref()
            .is_some_and(|good| is_pinned(ask, good))
}

/// Runs what blocks on a thread for that.
async fn beside<T: Send + 'static>(
    mut this: Watcher,
    work: impl FnOnce(&mut Watcher) -> T + Send + 'static,
) -> Result<(Watcher, T), String> {
    tokio::task::spawn_blocking(move || {
        let done = work(&mut this);
        (this, done)
    })
    .await
    .map_err(|panicked| panicked.to_string())
}
