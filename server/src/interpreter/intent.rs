//! What a request comes to: what it asks for, or what "everything" and "analyse this" stand for here.

use super::asks::{Ask, Target};
use super::draft::Tagged;
use super::lexicon::Concept;
use super::reading::TextInPrompt;
use super::refuse::Obstacle;
use super::rules::Planner;
use super::subject::{subjects, uses};
use ouro_common::container::MediaType;

impl Planner<'_> {
    /// What is asked for, with defaults for what is general, and the order among conversions.
    pub(crate) fn all_asks(&self) -> Result<Vec<Ask>, Obstacle> {
        let mut asks = self.reading.asks.clone();
        if asks.is_empty() && self.reading.all {
            asks = self.everything();
        }
        if let Some(i) = self.by_overlap(true).first().copied()
            && !asks.iter().any(|a| self.concept_of(&a.target).is_some_and(|c| self.capabilities[i].serves(c).is_some()))
        {
            asks.push(ask(Target::Container(self.capabilities[i].name().clone())));
        }
        if asks.is_empty() && !self.reading.unwanted.is_empty() && !self.reading.generic {
            return Err(Obstacle::OnlyUnwanted);
        }
        let general = self.reading.generic && (self.reading.content.len() <= 2 || self.reading.text == TextInPrompt::Certain);
        if asks.is_empty() && general {
            asks = self.defaults();
        }
        if asks.is_empty() {
            return Err(Obstacle::NotUnderstood);
        }
        let has = |c: Concept| asks.iter().any(|a| a.target == Target::Concept(c));
        // Who asks to "OCR the digit" asks for the digit.
        if has(Concept::Digit) && self.best(Concept::Ocr).is_empty() {
            asks.retain(|a| a.target != Target::Concept(Concept::Ocr));
        }
        order_conversions(&mut asks);
        Ok(asks)
    }

    /// Every container that can work on what there is.
    fn everything(&self) -> Vec<Ask> {
        let targets = self.capabilities.iter().filter(|c| c.is_offered()).map(|c| match c.concept() {
            Some(concept) if self.best(concept).first().is_some_and(|&i| self.capabilities[i].name() == c.name()) => {
                Target::Concept(concept)
            }
            _ => Target::Container(c.name().clone()),
        });
        let order = |t: &Target| if let Target::Concept(c) = t { (*c as usize, String::new()) } else { (usize::MAX, format!("{t:?}")) };
        let mut targets: Vec<Target> = targets.filter(|t| !self.reading.unwanted.contains(t)).collect();
        targets.sort_by_key(order);
        targets.dedup();
        targets.into_iter().map(|t| Ask { weak: true, ..ask(t) }).filter(|a| self.fits_directly(a)).collect()
    }

    /// Whether an ask of "everything" has something to work on that needs no chain, and that makes sense for it.
    fn fits_directly(&self, ask: &Ask) -> bool {
        let concept = self.concept_of(&ask.target);
        let subjects: Vec<Tagged> = subjects(ask, concept, self.reading, self.request)
            .into_iter()
            .filter(|s| !is_table(&s.media) || concept == Some(Concept::Table) || concept.is_none() || self.best(Concept::Table).is_empty())
            .collect();
        self.candidates(&ask.target).into_iter().any(|i| {
            uses(self.capabilities, i, &subjects, self.reading.each, &self.preferred).is_some_and(|u| u.iter().any(|u| u.cost() == 0))
        })
    }

    /// What a general request gets, by what is attached; nothing if nothing is.
    fn defaults(&self) -> Vec<Ask> {
        let attached = |wanted: &dyn Fn(&MediaType) -> bool| self.request.inputs.iter().any(|i| wanted(&i.media));
        let text = attached(&|m| m.main() == "text" && !is_table(m)) || (self.request.inputs.is_empty() && self.reading.generic);
        let mut concepts = Vec::new();
        if text {
            concepts.extend([Concept::Summary, Concept::Keywords]);
        }
        if attached(&is_table) {
            concepts.push(Concept::Table);
        }
        if attached(&|m| m.main() == "image") {
            concepts.push(Concept::Digit);
        }
        if attached(&|m| m.main() == "audio") {
            concepts.push(Concept::Transcript);
        }
        let served = concepts
            .into_iter()
            .filter(|c| !self.best(*c).is_empty() && !self.reading.unwanted.contains(&Target::Concept(*c)));
        served.map(|c| Ask { weak: true, ..ask(Target::Concept(c)) }).collect()
    }
}

/// An ask for `target` on whatever fits.
pub(crate) fn ask(target: Target) -> Ask {
    Ask { target, of: None, inputs: Vec::new(), weak: false }
}

/// Whether it is a table rather than a text.
pub(crate) fn is_table(media: &MediaType) -> bool {
    media.main() == "text" && media.sub() == "csv"
}

/// A translation asked for after a summary is of the summary; what is asked for after a translation is of the translation.
fn order_conversions(asks: &mut [Ask]) {
    use Concept::{Correction, Keywords, Sentiment, Summary, Translation};
    for i in 1..asks.len() {
        let (before, rest) = asks.split_at_mut(i);
        let (Target::Concept(earlier), Target::Concept(this)) = (&before[i - 1].target, &rest[0].target) else {
            continue;
        };
        let follows = matches!(
            (earlier, this),
            (Summary, Translation) | (Translation | Correction, Summary | Keywords | Sentiment | Correction | Translation)
        );
        if follows && rest[0].of.is_none() && before[i - 1].of.is_none() {
            rest[0].of = Some(before[i - 1].target.clone());
        }
    }
}
