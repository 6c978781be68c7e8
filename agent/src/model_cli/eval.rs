//! `ouro-agent first-pass eval`: how well a model's own log-probabilities tell its right answers from its wrong ones.
//!
//! Every prompt is answered as the first pass would, without giving up in between; the answer is compared with the right one.
//! What comes out belongs to exactly this model, engine and choice of instructions, so all three are named.

use super::{ChildArgs, in_child, print, refused};
use crate::runtimes::model_digest;
use ouro_common::error::Fault;
use ouro_engine::deferral::{
    COVERAGES, Calibration, CalibrationKey, Curve, Feature, Features, Graded, Rule, Threshold, Wish, choice, curves, thresholds,
};
use ouro_engine::kernels::Level;
use ouro_engine::language_model::{GenerateOptions, Hooks, LanguageModel, ModelError, TokenEvent};
use ouro_engine::sampling::Sampling;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// What to do about the first pass.
#[derive(Debug, clap::Subcommand)]
pub enum FirstPassVerb {
    /// Answer the prompts of a file and tell how well a threshold would have sorted right from wrong.
    Eval(EvalArgs),
}

/// What to evaluate.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// JSON lines: {"prompt": "…", "answer": "…"}; answer may be a list of right answers, and without it none is right.
    file: PathBuf,
    /// The model, in GGUF format or a folder of SafeTensors.
    #[arg(long, value_name = "FILE.gguf|FOLDER")]
    model: PathBuf,
    /// An answer is right when it says the right one somewhere, not only when it is the right one.
    #[arg(long)]
    contains: bool,
    /// The most tokens of answer.
    #[arg(short = 'n', long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_tokens: u32,
    /// Also tell the threshold with at most this share of wrong answers among those kept.
    #[arg(long, default_value_t = 0.05, value_name = "SHARE", value_parser = share)]
    risk: f64,
    /// Also tell the threshold that keeps at least this share.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE", value_parser = share)]
    coverage: f64,
    /// Also write what each threshold would have done, for `first_pass.calibration` in agent.toml.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The form.
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
    #[command(flatten)]
    child: ChildArgs,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it must be a number from 0 to 1".into()),
    }
}

#[derive(Debug, Deserialize)]
struct Line {
    prompt: String,
    #[serde(default)]
    answer: Option<Answers>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answers {
    One(String),
    Any(Vec<String>),
}

impl Line {
    /// Compared without case, surrounding white space and a final full stop.
    fn is_right(&self, said: &str, contains: bool) -> bool {
        let plain = |text: &str| {
            let text = text.trim().trim_end_matches('.').to_lowercase();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let said = plain(said);
        let words = |text: &str| format!(" {} ", text.replace(|c: char| !c.is_alphanumeric(), " "));
        let one = |right: &str| {
            let right = plain(right);
            said == right || contains && !right.is_empty() && words(&said).contains(&words(&right))
        };
        match &self.answer {
            None => false,
            Some(Answers::One(right)) => one(right),
            Some(Answers::Any(rights)) => rights.iter().any(|right| one(right)),
        }
    }
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// What the figures belong to.
    key: CalibrationKey,
    kernels: &'static str,
    /// Tokens after which it is decided.
    decision_tokens: usize,
    prompts: usize,
    /// Prompts that do not fit the model's context; they are always offloaded and not among the figures.
    too_long: usize,
    right: usize,
    coverages: [f64; 10],
    curves: Vec<Curve>,
    /// The model's own rule, and what it would have done.
    rule: Rule,
    rule_kept: usize,
    rule_kept_wrong: usize,
    /// Thresholds of the rule's feature.
    for_risk: Option<Threshold>,
    for_coverage: Option<Threshold>,
}

/// Evaluates, and prints on `out`.
///
/// # Errors
/// What is wrong with the prompts or the model.
pub fn run(args: &EvalArgs, out: &mut dyn Write) -> Result<(), Fault> {
    in_child(args.child, 2, || {
        let (report, calibration) = evaluate(args)?;
        if let Some(file) = &args.save {
            let json = serde_json::to_vec(&calibration).unwrap_or_default();
            std::fs::write(file, &json).map_err(|e| refused(format!("{} cannot be written: {e}", file.display())))?;
        }
        print(out, &args.output, &report, || table(&report, args))
    })
}

fn lines(args: &EvalArgs) -> Result<Vec<Line>, Fault> {
    let name = args.file.display();
    let text = std::fs::read_to_string(&args.file).map_err(|e| refused(format!("{name} cannot be read: {e}")))?;
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let lines: Result<Vec<Line>, Fault> = numbered
        .map(|(index, line)| {
            let said = |e| refused(format!("{name}, line {}: {e}", index + 1)).remedy("write {\"prompt\": \"…\", \"answer\": \"…\"}");
            serde_json::from_str(line).map_err(said)
        })
        .collect();
    match lines {
        Ok(lines) if lines.is_empty() => Err(refused(format!("{name} has no prompts"))),
        lines => lines,
    }
}

fn evaluate(args: &EvalArgs) -> Result<(Report, Calibration), Fault> {
    let lines = lines(args)?;
    let model = LanguageModel::open(&args.model).map_err(refused)?;
    let digest = model_digest::of(&args.model, None).map_err(refused)?;
    let rule = model.rule();
    let max_tokens = usize::try_from(args.max_tokens).unwrap_or(usize::MAX);
    let options = GenerateOptions { max_tokens, sampling: Sampling::GREEDY };
    let start = Instant::now();
    let hooks = Hooks { cancel: &|| false, now: &|| start.elapsed() };
    let (mut graded, mut too_long) = (vec![], 0);
    for line in &lines {
        let mut seen = vec![];
        let sink = &mut |event: &TokenEvent| {
            seen.push(event.observation());
            ControlFlow::Continue(())
        };
        match model.generate(&line.prompt, &options, &hooks, sink) {
            Ok(made) => {
                let judged = &seen[..seen.len().min(rule.tokens)];
                graded.push(Graded {
                    features: Features::of(judged),
                    prompt_tokens: made.prompt_tokens,
                    right: line.is_right(&made.text, args.contains),
                });
            }
            Err(ModelError::PromptTooLong { .. }) => too_long += 1,
            Err(error) => return Err(refused(error)),
        }
    }
    let kept: Vec<&Graded> = graded.iter().filter(|one| one.features.is_some_and(|f| rule.judge(&f).0)).collect();
    let key = CalibrationKey { model: digest, quantisation: model.quantisation(), engine: ouro_engine::BUILD.into() };
    let curves = curves(&graded);
    let right = graded.iter().filter(|one| one.right).count();
    let calibration = Calibration {
        schema: Calibration::SCHEMA.into(),
        key: key.clone(),
        tokens: rule.tokens,
        prompts: graded.len(),
        right,
        auroc: BTreeMap::new(),
        thresholds: Feature::ALL.into_iter().map(|feature| (feature, thinned(thresholds(&graded, feature)))).collect(),
    };
    let report = Report {
        key,
        kernels: Level::name(Level::in_use()),
        decision_tokens: rule.tokens,
        prompts: graded.len(),
        too_long,
        right,
        coverages: COVERAGES,
        rule,
        rule_kept: kept.len(),
        rule_kept_wrong: kept.iter().filter(|one| !one.right).count(),
        for_risk: choice(&graded, rule.feature, Wish::Risk(args.risk)),
        for_coverage: choice(&graded, rule.feature, Wish::Share(args.coverage)),
        curves,
    };
    let calibration = calibration.with_areas(&report.curves);
    Ok((report, calibration))
}

/// So many of them say all there is to choose from.
const POINTS: f64 = 200.0;

/// Of thresholds that keep nearly the same, the one that keeps most.
fn thinned(thresholds: Vec<Threshold>) -> Vec<Threshold> {
    let step = |one: &Threshold| (one.coverage * POINTS).ceil();
    thresholds.chunk_by(|a, b| step(a) == step(b)).filter_map(|near| near.last().copied()).collect()
}

fn table(r: &Report, args: &EvalArgs) -> String {
    let feature = r.rule.feature.name();
    let mut text = format!(
        "model      {}, {}\nengine     {}, kernels {}, decided after {} tokens\nprompts    {}, {} answered rightly, {} too long for the model\n",
        r.key.model, r.key.quantisation, r.key.engine, r.kernels, r.decision_tokens, r.prompts, r.right, r.too_long
    );
    let (kept, wrong) = (r.rule_kept, r.rule_kept_wrong);
    text += &format!("its rule   {feature} >= {}: keeps {kept}, {wrong} of them wrong\n\n", r.rule.threshold);
    text += "share of wrong answers among those kept, by the share that is kept\nordered by        AUROC   mean";
    text.extend(r.coverages.iter().map(|coverage| format!("{:>7.0} %", coverage * 100.0)));
    text.push('\n');
    for curve in &r.curves {
        let auroc = curve.auroc.map_or_else(|| "    -".into(), |auroc| format!("{auroc:.3}"));
        text += &format!("{:16} {auroc:>6} {:>6.3}", curve.by, curve.mean_risk);
        text.extend(curve.risk.iter().map(|risk| format!("{risk:>9.3}")));
        text.push('\n');
    }
    let told = |choice: &Option<Threshold>| match choice {
        Some(t) => format!("{feature} >= {:.4} keeps {:.1} %, {:.1} % of them wrong", t.threshold, t.coverage * 100.0, t.risk * 100.0),
        None => "no threshold".into(),
    };
    text += &format!("\nfor a risk of at most {:.1} %      {}\n", args.risk * 100.0, told(&r.for_risk));
    text + &format!("for a share of at least {:.1} %   {}\n", args.coverage * 100.0, told(&r.for_coverage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_as_people_would() {
        let line = |json: &str| serde_json::from_str::<Line>(json).unwrap();
        let one = line(r#"{"prompt": "p", "answer": "New York"}"#);
        assert!(one.is_right(" new  york.\n", false) && !one.is_right("it is New York", false));
        assert!(one.is_right("It is New York, of course.", true) && !one.is_right("newyork", true));
        let number = line(r#"{"prompt": "p", "answer": ["13", "thirteen"]}"#);
        assert!(number.is_right("It's thirteen!", true) && !number.is_right("130", true));
        assert!(!line(r#"{"prompt": "p", "kind": "request"}"#).is_right("", true));
    }
}
