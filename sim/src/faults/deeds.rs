//! A seed's life: the storm, deed by deed, then the calm.

use std::collections::BTreeMap;

use onsen_core::time::{MINUTE, Millis, SECOND};

use super::draw::{self, Drawn};
use super::{Options, REST_FOR, REST_WITHIN, policies};
use crate::account::{Fault, Stage};
use crate::rng::Rng;
use crate::world::{Decides, Dice, Pod, PodState, SimNode, Weather, World, WorldError};

/// A look comes at least so often, and confirms what an earlier one made suspect.
const NEXT_LOOK: Millis = 12 * MINUTE;

/// Something that may happen next.
type Deed = fn(&mut Life) -> Result<(), WorldError>;

/// A world under a storm.
pub(super) struct Life {
    pub(super) world: World,
    drawn: Drawn,
    dice: Rng,
    seed: u64,
    arrived: usize,
}

impl Life {
    pub(super) fn begin(seed: u64, options: &Options) -> Result<Self, WorldError> {
        let drawn = draw::draw(seed, &options.without, &options.components)?;
        let (_, sensible) = policies::ALL[0];
        let built_in = Decides::Native(sensible, Dice::new(seed));
        let mut world = World::new(&drawn.setup, built_in)?;
        world.keep_no_record();
        world.spoil(&options.spoil);
        world.set_weather(drawn.weather.clone());
        for rate in drawn
            .rates
            .iter()
            .filter(|it| it.name.stage() != Stage::BehindBack)
        {
            world.inject(Fault {
                probability: Some(f64::from(rate.per_mille) / 1_000.0),
                delay_ms: rate.spell,
                ..Fault::new(rate.name)
            });
        }
        Ok(Self {
            world,
            drawn,
            dice: Rng::new(seed ^ 0x0057_0424),
            seed,
            arrived: 0,
        })
    }

    pub(super) fn live(&mut self, storm: u64) -> Result<(), WorldError> {
        while self.world.steps() < storm {
            self.deed()?;
        }
        self.calm()
    }

    /// One thing happens.
    fn deed(&mut self) -> Result<(), WorldError> {
        let w = &self.drawn.weights;
        let deeds: [(u32, Deed); 12] = [
            (w.arrive, Self::arrive),
            (w.leave, Self::leave),
            (w.wait, Self::wait),
            (w.again, Self::again),
            (w.crash, Self::crash),
            (w.settings, Self::settings),
            (w.cordon, Self::cordon),
            (w.terminate, Self::terminate),
            (w.policy, Self::policy),
            (w.behind, Self::behind),
            (w.spell, Self::spell),
            (w.tenant, Self::tenant),
        ];
        let total: u32 = deeds.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.dice.below(total as usize) as u32;
        for (weight, deed) in deeds {
            if drawn < weight {
                return deed(self);
            }
            drawn -= weight;
        }
        Ok(())
    }

    fn node(&mut self) -> usize {
        self.dice.below(self.world.nodes().len())
    }

    /// Places of a node's pods that fit.
    fn pods(&self, node: usize, fits: impl Fn(&Pod) -> bool) -> Vec<usize> {
        let pods = self.world.nodes().get(node).map(SimNode::pods);
        let placed = pods.unwrap_or_default().iter().enumerate();
        placed
            .filter(|(_, pod)| fits(pod))
            .map(|(place, _)| place)
            .collect()
    }

    fn arrive(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        let here = self.pods(node, |pod| pod.state != PodState::Gone).len();
        let room = self.drawn.crowd.saturating_sub(here);
        for _ in 0..room.min(1 + self.dice.below(6)) {
            self.arrived += 1;
            self.world.arrive(node, &format!("p{}", self.arrived))?;
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        let here = self.pods(node, |pod| pod.state != PodState::Gone);
        let count = self.dice.below(5);
        for pod in self.dice.sample(here, count) {
            self.world.leave_at(node, pod)?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), WorldError> {
        let longest = match self.dice.below(10) {
            0..=3 => 300,
            4..=7 => 6 * SECOND,
            8 => MINUTE,
            _ => 8 * MINUTE,
        };
        let span = 1 + self.dice.below(longest as usize) as Millis;
        self.world.advance(span)
    }

    fn again(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        if self.dice.below(2) == 0 {
            let running = self.pods(node, |pod| pod.state == PodState::Running);
            for pod in self.dice.sample(running, 1) {
                self.world.ask_again(node, pod)?;
            }
        } else {
            let any = self.pods(node, |_| true);
            for pod in self.dice.sample(any, 1) {
                let attempt = 1 + self.dice.below(3) as u32;
                self.world.delete_again(node, pod, attempt)?;
            }
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        self.world.crash(node)
    }

    fn settings(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        let changed = draw::setting(&mut self.dice).into_iter().collect();
        self.world.change_settings(node, &changed)
    }

    fn cordon(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        let cordoned = self.dice.below(2) == 0;
        self.world.cordon(node, cordoned)
    }

    fn terminate(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        let terminating = self.dice.below(2) == 0;
        self.world.set_terminating(node, terminating)
    }

    fn policy(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        let place = self.dice.below(self.drawn.minds.len());
        match self.drawn.minds.get(place) {
            Some(mind) => self.world.change_policy(node, mind.clone()),
            None => Ok(()),
        }
    }

    /// Something happens behind a node's back.
    fn behind(&mut self) -> Result<(), WorldError> {
        let node = self.node();
        let name = self.world.nodes().get(node).map(|it| it.name().to_owned());
        let fitting = self.drawn.rates.iter();
        let fitting: Vec<_> = fitting
            .filter(|it| it.name.stage() == Stage::BehindBack)
            .map(|it| it.name)
            .collect();
        for fault in self.dice.sample(fitting, 1) {
            self.world.inject(Fault {
                node: name.clone(),
                ..Fault::new(fault)
            });
        }
        Ok(())
    }

    /// A fault strikes at every call for a while.
    fn spell(&mut self) -> Result<(), WorldError> {
        let fitting = self.drawn.rates.iter();
        let fitting: Vec<_> = fitting
            .filter(|it| it.name.stage() != Stage::BehindBack)
            .cloned()
            .collect();
        for rate in self.dice.sample(fitting, 1) {
            self.world.inject(Fault {
                duration_ms: Some(rate.spell),
                delay_ms: rate.spell,
                ..Fault::new(rate.name)
            });
        }
        Ok(())
    }

    /// Somebody else takes addresses of the subnet, or gives them back.
    fn tenant(&mut self) -> Result<(), WorldError> {
        let takes = self.dice.below(2) == 0;
        let count = 1 + self.dice.below(40);
        if takes {
            self.world.tenant_takes(count);
        } else {
            self.world.tenant_leaves();
        }
        Ok(())
    }

    /// All faults have ended; nobody takes anything any more.
    fn calm(&mut self) -> Result<(), WorldError> {
        self.world.heal();
        self.world.set_weather(Weather::default());
        self.world.tenant_leaves();
        let (_, sensible) = policies::ALL[0];
        // Whole prefixes may never be free again in a small subnet, through no fault of anybody's.
        let singles = [("ENABLE_PREFIX_DELEGATION", "false")];
        let singles = singles.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let singles = BTreeMap::from(singles);
        for node in 0..self.world.nodes().len() {
            let mind = Decides::Native(sensible, Dice::new(self.seed));
            self.world.change_policy(node, mind)?;
            self.world.change_settings(node, &singles)?;
            self.world.cordon(node, false)?;
            self.world.set_terminating(node, false)?;
            self.make_room(node)?;
        }
        let world = &mut self.world;
        // What happened behind a node's back is found by its next look, which may come after a rest.
        for pause in [0, NEXT_LOOK] {
            world.advance(pause)?;
            if !world.run_until_rest(REST_WITHIN)? {
                let law = format!("L1: no rest within {} minutes", REST_WITHIN / MINUTE);
                return Err(world.restless(law));
            }
        }
        world.check_agreement()?;
        let before = world.mutations();
        world.advance(REST_FOR)?;
        if world.mutations() != before {
            let law = "L1: after it came to rest something was changed".to_owned();
            return Err(world.restless(law));
        }
        world.check_agreement()
    }

    /// Pods leave until all that stay can have an address.
    fn make_room(&mut self, node: usize) -> Result<(), WorldError> {
        let fits = self.world.room(node) / 3;
        let here = self.pods(node, |pod| pod.state != PodState::Gone);
        for pod in here.into_iter().skip(fits) {
            self.world.leave_at(node, pod)?;
        }
        Ok(())
    }
}
