//! What to write instead of a name that this program does not have: the names that scikit-learn, Spark, XGBoost, LIBLINEAR and Vowpal
//! Wabbit have for the same thing, else the most similar of its own. They are advice in errors, never names that are taken.

/// A name is said to be meant when it is at least so similar (Jaro and Winkler) to what was typed.
const SIMILAR: f64 = 0.85;

/// Names of others, without anything but letters and digits, and what to write instead; the advice for several words may stand twice.
type Table = &'static [(&'static str, &'static str)];

/// What others call models.
pub const MODELS: Table = &[
    (
        "linearregression linreg ols leastsquares lsq squared squarederror regsquarederror mse l2 gaussian normal regression regressor",
        "Write --model linear",
    ),
    (
        "ridge ridgeregression ridgecv tikhonov",
        "Write --model linear --l2 X, alpha/n of scikit-learn's Ridge on n rows",
    ),
    ("lasso lassocv lassolars l1regression", "Write --model linear --l1 X, alpha of scikit-learn's Lasso"),
    (
        "elasticnet elasticnetcv enet glmnet",
        "Write --model linear --l1 X --l2 Y, alpha*l1_ratio and alpha*(1-l1_ratio) of scikit-learn",
    ),
    (
        "logisticregression logisticregressioncv logit logreg logloss binarylogistic binary binomial bernoulli crossentropy classification \
         classifier",
        "Write --model logistic for two classes, --model softmax for more",
    ),
    (
        "multinomial multiclass multinomiallogistic softmaxregression multisoftmax multisoftprob maxent categorical categoricalcrossentropy",
        "Write --model softmax",
    ),
    (
        "svm svc linearsvc linearsvm supportvectormachine",
        "Write --model squared-hinge (as scikit-learn's LinearSVC) or --model hinge (as its SVC with a linear kernel)",
    ),
    (
        "svr linearsvr epsiloninsensitive",
        "There is no loss that ignores small errors; --model huber and --model absolute are the nearest",
    ),
    ("mae l1 lad medianregression median regabsoluteerror", "Write --model absolute"),
    (
        "quantileregression quantileregressor quantileerror regquantileerror pinball",
        "Write --model quantile --quantile Q",
    ),
    ("huberregressor robust pseudohuber regpseudohubererror", "Write --model huber --huber-delta X"),
    ("poissonregression poissonregressor countpoisson count", "Write --model poisson"),
    ("gammaregressor reggamma", "Write --model gamma"),
    ("tweedieregressor regtweedie", "Write --model tweedie --tweedie-power P"),
    (
        "glm generalizedlinear generalizedlinearmodel",
        "Name the distribution: --model linear, logistic, poisson, gamma or tweedie",
    ),
    (
        "sgdclassifier sgdregressor perceptron onlinelearning",
        "Name the loss and the solver: --model logistic --solver sgd, or --model linear --solver sgd",
    ),
    (
        "xgboost lightgbm catboost gbm gbt gbdt gradientboosting boosting tree trees decisiontree randomforest rf forest knn naivebayes \
         mlp nn neuralnetwork kmeans pca",
        "Only linear models are learnt; combinations of categories (--cross) and numbers as buckets (--bucketize) let them bend",
    ),
];

/// What others call solvers.
pub const SOLVERS: Table = &[
    (
        "sag saga sdca liblinear dual dcd coordinate tron",
        "Write --solver auto, which chooses by shape and cost, or --solver svrg for batches with reduced variance",
    ),
    ("lbfgsb bfgs quasinewton", "Write --solver lbfgs"),
    ("newtoncg newtoncholesky irls wls trustregion", "Write --solver newton"),
    ("svd qr lsqr normal normalequations closedform exact gram", "Write --solver cholesky"),
    ("cd cyclic lars", "Write --solver coordinate-descent"),
    ("gd gradientdescent bgd", "Write --solver lbfgs, or --solver sgd for steps batch by batch"),
    ("momentum nesterov", "Write --solver sgd --momentum X, with --nesterov for Nesterov's"),
];

/// What others call flags. Advice is given where the command has all flags that it names.
pub const FLAGS: Table = &[
    (
        "alpha reg lambda reglambda regparam regularization weightdecay l2reg regl2",
        "Write --l2 X, --l1 X or both: penalties beside the mean loss, so alpha of scikit-learn's Ridge is --l2 alpha/n on n rows, that of its Lasso --l1 alpha",
    ),
    ("regalpha l1reg regl1", "Write --l1 X"),
    ("c cost inversereg", "Write --l2 1/(C n) on n rows, or --l1 1/(C n)"),
    ("penalty regtype", "Write --l1 X for an l1 penalty, --l2 X for l2, both for an elastic net"),
    ("l1ratio elasticnetparam elasticnet", "Write --l1 alpha*ratio --l2 alpha*(1-ratio)"),
    (
        "target targets targetcol targetcolumn labels labelcol labelcolumn labelname y response outcome dependent",
        "Write --label COLUMN",
    ),
    (
        "features feature featurecols featurescol featurecolumns columns cols usecols x include",
        "All columns but the label are features; leave others out with --ignore COLUMNS",
    ),
    ("drop exclude skip dropcolumns ignorecolumns", "Write --ignore COLUMNS"),
    (
        "maxiter maxiters iter iters iterations niter numiter numiterations maxiterations steps maxsteps passes rounds numround nestimators",
        "Write --max-passes N, or --epochs N with a solver that learns batch by batch",
    ),
    ("tol eps convergencetol stoptol terminationepsilon", "Write --tolerance X"),
    (
        "lr eta eta0 stepsize learningrateinit",
        "Write --learning-rate X with a solver that learns batch by batch, such as --solver adagrad",
    ),
    ("batch batchsize minibatch minibatchsize", "Write --batch-rows N"),
    ("optimizer optimiser algorithm algo method", "Write --solver NAME"),
    ("loss lossfunction objective family modeltype task kind", "Write --model NAME"),
    ("randomstate randomseed", "Write --seed N"),
    ("njobs nthread nthreads numthreads jobs cores ncores workers nworkers numworkers", "Write --threads N"),
    (
        "testsize testsplit testfraction valsize validationsplit validationfraction holdout split",
        "Write --test-share SHARE",
    ),
    ("cv kfold kfolds nfold nfolds numfolds crossvalidation", "Write --folds N"),
    ("fitintercept nointercept bias nobias noconstant", "Write --intercept true or --intercept false"),
    (
        "normalize normalise standardise standardization scale scaling nostandardize",
        "Write --standardize true or --standardize false",
    ),
    ("sampleweight sampleweights weights weightcol weightcolumn", "Write --weight COLUMN"),
    ("sep separator", "Write --delimiter CHAR"),
    ("noheader hasheader", "Write --header true or --header false"),
    ("na navalues nullvalue missing missingvalues", "Write --null-values TEXTS"),
    ("cat cats catfeatures categories categoricalfeatures categoricalcolumns", "Write --categorical COLUMNS"),
    ("interaction interactions quadratic", "Write --cross COLUMN*COLUMN"),
    (
        "exposure",
        "Write --offset COLUMN with the logarithm of the exposure, or the exposure as --weight and the rate as label",
    ),
    ("tau", "Write --model quantile --quantile Q"),
    ("variancepower varpower", "Write --model tweedie --tweedie-power P"),
    ("earlystopping earlystoppingrounds niternochange", "Write --patience N; rows are held out by --test-share"),
    ("initmodel initialmodel", "Write --warm-start RUN"),
    (
        "out outdir outputdir outputpath outputfile modeldir modelfile savemodel saveto",
        "Write --output PATH, or -o PATH",
    ),
    ("overwrite replace", "Write --force"),
    ("mem maxmemory memorylimit ram", "Write --memory SIZE"),
    ("silent nologs noprogress", "Write --quiet"),
    ("verbose verbosity debug", "Progress is shown unless --quiet is given"),
    (
        "data dataset input inputs inputfile infile train traindata trainfile file files path source",
        "Data are named without a flag: `gristmill train data.parquet --model linear -o run`",
    ),
    ("resume checkpoint restart", "An interrupted training goes on with `gristmill resume RUN`"),
    ("gpu usegpu device cuda", "There are no kernels for GPUs; `gristmill doctor` shows what is used of this machine"),
    ("np ranks nproc", "Start several ranks with `mpirun -n N gristmill ...` or `gristmill launch -n N -- ...`"),
    ("proba probability probabilities predictproba", "Predictions of classes have probabilities beside them"),
];

/// What others call commands.
pub const COMMANDS: Table = &[
    ("fit learn run", "Write gristmill train"),
    ("score test eval validate", "Write gristmill evaluate"),
    ("transform apply infer inference", "Write gristmill predict"),
    ("import convert load prepare preprocess", "Write gristmill ingest"),
    ("info show describe head view schema", "Write gristmill inspect"),
    ("check fsck", "Write gristmill verify"),
    ("continue", "Write gristmill resume"),
    ("demo example tutorial start", "Write gristmill quickstart"),
];

/// A sentence to put after an error about the name `given`: what `table` says of it, where `possible` holds of that, else the most similar
/// of `known`. Nothing where there is neither.
pub fn instead<Name: AsRef<str>>(
    table: Table,
    given: &str,
    known: impl IntoIterator<Item = Name>,
    possible: impl Fn(&str) -> bool,
) -> String {
    let typed = letters(given);
    let likeness = known.into_iter().map(|name| (strsim::jaro_winkler(&letters(name.as_ref()), &typed), name));
    let nearest = likeness.max_by(|a, b| a.0.total_cmp(&b.0));
    let theirs = table.iter().find(|(names, advice)| names.split(' ').any(|name| name == typed) && possible(advice));
    match (nearest, theirs) {
        // Ours in another spelling: `Logistic`, `l-bfgs`, `learning_rate`.
        // One letter is like anything.
        (Some((likeness, name)), theirs)
            if typed.len() > 1 && likeness >= if theirs.is_some() { 1.0 } else { SIMILAR } =>
        {
            format!(" Did you mean '{}'?", name.as_ref())
        }
        (_, Some((_, advice))) => format!(" {advice}."),
        _ => String::new(),
    }
}

/// The letters and digits of a name, in lower case: how tables have it.
fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_letters_and_digits_once() {
        for table in [MODELS, SOLVERS, FLAGS, COMMANDS] {
            let mut seen = std::collections::BTreeSet::new();
            for name in table.iter().flat_map(|(names, _)| names.split(' ')) {
                assert_eq!(name, letters(name));
                assert!(seen.insert(name), "{name} is there twice");
            }
        }
    }

    #[test]
    fn the_words_of_others_come_before_likeness_and_other_spellings_before_both() {
        let known = ["linear", "hinge", "logistic", "l1"];
        let said = |given: &str| instead(MODELS, given, known, |_| true);
        assert!(said("Ridge").contains("--l2"), "{}", said("Ridge"));
        assert!(said("LinearRegression").contains("--model linear"));
        assert_eq!(said("Logistic"), " Did you mean 'logistic'?");
        assert_eq!(said("L1"), " Did you mean 'l1'?");
        assert_eq!(said("liner"), " Did you mean 'linear'?");
        assert_eq!((said("zebra"), said("l")), (String::new(), String::new()));
        assert_eq!(instead(MODELS, "ridge", known, |advice| !advice.contains("--l2")), "");
    }
}
