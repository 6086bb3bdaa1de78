//! A run: the coefficients by name, in the units of the source columns, and how they were found. Of several classes each has its
//! own.

use std::path::Path;

use gristmill_io::dictionary::Dictionary;
use gristmill_io::manifest::Kind;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::{Error, Result};
use crate::models::Settings;
use crate::report::{Report, Table, number};
use crate::run::folder::SUMMARY_FILE;
use crate::run::names::{self, Dictionaries, Taken};
use crate::run::{Fit, Model, how_it_ended};

/// The most coefficients that the text shows.
const LINES_MAX: usize = 40;
/// The most classes whose coefficients the text shows.
const CLASSES_MAX: usize = 8;

/// What `--json` gives.
#[derive(Debug, serde::Serialize)]
struct Findings<'a> {
    kind: &'static str,
    model: String,
    settings: Settings,
    link: &'a str,
    label: Option<&'a str>,
    classes: &'a Option<Vec<String>>,
    intercept: OfMargins<f64>,
    coefficients: OfMargins<Named<'a>>,
    parameters: usize,
    objective: f64,
    loss: f64,
    gradient_norm: Option<f64>,
    passes: u32,
    converged: Option<bool>,
    reason: &'a str,
    l1: f64,
    l2: f64,
    standardize: bool,
    solver: &'a str,
    rows: u64,
    dataset_fingerprint: &'a str,
}

/// A parameter's name, and its coefficient in each margin.
type Coefficient = (String, Vec<f64>);

/// Names with their values in one margin, in the order of the columns.
#[derive(Debug)]
struct Named<'a> {
    coefficients: &'a [Coefficient],
    margin: usize,
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.coefficients.len()))?;
        for (name, values) in self.coefficients {
            map.serialize_entry(name, &values[self.margin])?;
        }
        map.end()
    }
}

/// What belongs to a margin: by itself where a row has one, by class where it has one a class.
#[derive(Debug)]
enum OfMargins<T> {
    One(T),
    Classes(Vec<(String, T)>),
}

impl<T> OfMargins<T> {
    fn of(model: &Model, value: impl Fn(usize) -> T) -> OfMargins<T> {
        match (&model.metadata.classes, model.metadata.margins()) {
            (Some(classes), margins) if margins > 1 => {
                let named = |(margin, class): (usize, &String)| (class.clone(), value(margin));
                OfMargins::Classes(classes.iter().enumerate().map(named).collect())
            }
            _ => OfMargins::One(value(0)),
        }
    }
}

impl<T: Serialize> Serialize for OfMargins<T> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            OfMargins::One(value) => value.serialize(to),
            OfMargins::Classes(classes) => {
                let mut map = to.serialize_map(Some(classes.len()))?;
                for (class, value) in classes {
                    map.serialize_entry(class, value)?;
                }
                map.end()
            }
        }
    }
}

/// Show a model.
///
/// # Errors
/// When it is damaged.
pub fn show_model(path: &Path, report: &Report) -> Result<()> {
    let model = Model::read(path)?;
    let coefficients = coefficients(&model)?;
    let (about, fit) = (&model.metadata, &model.metadata.fit);
    report.json(&Findings {
        kind: "model",
        model: about.model.to_string(),
        settings: about.settings,
        link: &about.link,
        label: about.label().map(|label| label.name.as_str()),
        classes: &about.classes,
        intercept: OfMargins::of(&model, |margin| model.weights.real_intercepts[margin]),
        coefficients: OfMargins::of(&model, |margin| Named { coefficients: &coefficients, margin }),
        parameters: about.parameters,
        objective: fit.objective,
        loss: fit.loss,
        gradient_norm: fit.gradient_norm,
        passes: fit.passes,
        converged: fit.converged,
        reason: &fit.reason,
        l1: fit.strengths.l1,
        l2: fit.strengths.l2,
        standardize: fit.standardize,
        solver: &fit.solver,
        rows: fit.rows,
        dataset_fingerprint: &about.dataset_fingerprint,
    })?;
    if report.wants_json() {
        return Ok(());
    }
    let title = report.bold(&format!("{} model", about.model));
    report.text(&format!("{title}\n{}\n\n{}", about_table(&model, fit), coefficient_table(&model, coefficients)))
}

/// Show a run of several models: what its summary says.
///
/// # Errors
/// When the summary cannot be read.
pub fn show_path(path: &Path, report: &Report) -> Result<()> {
    let file = path.join(SUMMARY_FILE);
    let text = std::fs::read(&file).map_err(|e| gristmill_io::Error::io(&file, "cannot read", e))?;
    let summary: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|error| Error::File { path: file.clone(), message: format!("no summary of a run: {error}") })?;
    report.json(&summary)?;
    let mut table = Table::with_head(&["model", ">l1", ">l2", ">objective", ">non-zero"]);
    for model in summary["models"].as_array().into_iter().flatten() {
        let number = |key: &str| model[key].as_f64().map_or_else(String::new, |value| number::plain(value, 8));
        let folder = model["folder"].as_str().unwrap_or_default().to_string();
        table.line([folder, number("l1"), number("l2"), number("objective"), model["nonzero"].to_string()]);
    }
    report.text(&format!("{}\n{}", report.bold("a path of models; inspect each by its folder"), table.text(2)))
}

/// Names and coefficients in the order of the columns. Hashed levels and elements without a coefficient, of which there may be millions, are
/// left out.
fn coefficients(model: &Model) -> Result<Vec<Coefficient>> {
    let columns = &model.metadata.columns;
    let dictionaries: Dictionaries = columns
        .iter()
        .map(|column| match &column.kind {
            Kind::Categorical { dictionary, .. } => Dictionary::read(&model.folder, dictionary).map(|read| read.levels),
            _ => Ok(Vec::new()),
        })
        .collect::<gristmill_io::Result<_>>()?;
    let (parameters, margins) = (model.metadata.parameters, model.weights.intercepts.len());
    let is_zero = |j: usize| (0..margins).all(|margin| model.weights.coefficients[margin * parameters + j] == 0.0);
    let is_hashed = |column: usize| matches!(columns[column].kind, Kind::Hashed { .. } | Kind::Text { .. });
    let mut places: Vec<(usize, (usize, usize))> = names::places(columns)
        .into_iter()
        .enumerate()
        .filter(|&(j, (column, _))| !(is_hashed(column) && is_zero(j)))
        .collect();
    places.sort_by_key(|(_, place)| *place);
    let values = |j: usize| (0..margins).map(|margin| model.weights.coefficients[margin * parameters + j]).collect();
    let mut taken = Taken::new(columns);
    let named = places.into_iter().map(|(j, (column, element))| {
        let name = names::name(columns, &dictionaries, column, element);
        (taken.free(name, &columns[column]), values(j))
    });
    Ok(named.collect())
}

fn about_table(model: &Model, fit: &Fit) -> String {
    let about = &model.metadata;
    let mut table = Table::of_pairs();
    if let Some(label) = about.label() {
        table.pair("label", label.name.clone());
    }
    match about.classes.as_deref() {
        Some(labels) if about.labels().is_some() => table.pair("labels", listed(labels)),
        Some([no, yes]) if about.margins() == 1 => table.pair("classes", format!("{no} (0), {yes} (1)")),
        Some(classes) => table.pair("classes", listed(classes)),
        None => {}
    }
    table.pair(
        "trained on",
        format!("{}, {}", number::several(fit.rows, "row"), number::several(about.parameters as u64, "parameter")),
    );
    if let Some(delta) = about.settings.huber_delta {
        table.pair("delta", number::plain(delta, 10));
    }
    if let Some(power) = about.settings.tweedie_power {
        table.pair("power", number::plain(power, 10));
    }
    if let Some(quantile) = about.settings.quantile {
        table.pair("quantile", number::plain(quantile, 10));
    }
    table.pair("penalty", penalty(fit));
    let progressive = if fit.gradient_norm.is_some() { "" } else { "progressive, " };
    let (objective, loss) = (number::plain(fit.objective, 10), number::plain(fit.loss, 10));
    table.pair("objective", format!("{objective} ({progressive}loss {loss})"));
    let converged = how_it_ended(fit.converged);
    table.pair("solver", format!("{}, {} passes, {converged}: {}", fit.solver, fit.passes, fit.reason));
    table.text(2)
}

fn penalty(fit: &Fit) -> String {
    let on = if fit.standardize {
        "on coefficients of standardised columns"
    } else {
        "on coefficients of columns as they are"
    };
    match (fit.strengths.l1, fit.strengths.l2) {
        (0.0, 0.0) => "none".into(),
        (l1, l2) => format!("l1 {l1}, l2 {l2}, {on}"),
    }
}

/// Classes by name, the first of them where there are many.
fn listed(classes: &[String]) -> String {
    let rest = classes.len().saturating_sub(CLASSES_MAX);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", classes[..classes.len() - rest].join(", "))
}

/// The coefficients, the largest first where there are too many.
fn coefficient_table(model: &Model, mut coefficients: Vec<Coefficient>) -> String {
    let shown = model.weights.intercepts.len().min(CLASSES_MAX);
    let heads: Vec<String> = match model.metadata.classes.as_deref() {
        Some(classes) if shown > 1 => classes[..shown].iter().map(|class| format!(">{class}")).collect(),
        _ => vec![">coefficient".into()],
    };
    let heads: Vec<&str> = std::iter::once("parameter").chain(heads.iter().map(String::as_str)).collect();
    let mut table = Table::with_head(&heads);
    let line = |name: String, values: &[f64]| {
        std::iter::once(name).chain(values[..shown].iter().map(|value| number::plain(*value, 8))).collect::<Vec<_>>()
    };
    table.line(line("(intercept)".into(), &model.weights.real_intercepts));
    let count = coefficients.len();
    if count > LINES_MAX {
        let size = |values: &[f64]| values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        coefficients.sort_by(|(_, a), (_, b)| size(b).total_cmp(&size(a)));
    }
    for (name, values) in coefficients.into_iter().take(LINES_MAX) {
        table.line(line(name, &values));
    }
    let rest = if count > LINES_MAX {
        format!("\n  ... the {LINES_MAX} largest of {}; --json gives all", number::count(count as u64))
    } else {
        String::new()
    };
    format!("{}{rest}", table.text(2))
}
