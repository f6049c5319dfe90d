# %% [markdown]
# # An animal model: breeding values of lambs from their pedigree
#
# Weaning weight (`wwt`, kg) of 450 lambs and ultrasonic fat depth (`fat`, mm) of 360 of them, in a flock of 600 sheep.
# The flock is **simulated** (`bayesmv.simulation.datasets.breeding` says how), so every estimate can be held against
# the truth.
# `fat` is missing in 20 % of the records, completely at random; no lamb is dropped for it.

# %%
import os

import bayesmv as bmv
from bayesmv.simulation.datasets import load_truth

lambs, parents = bmv.load_dataset("breeding"), bmv.load_pedigree("breeding")
truth = load_truth("breeding")  # to judge by; nothing below is fitted to it
print(lambs.head(3).to_string(index=False))


def show(table, *columns):
    """Print some columns of a table."""
    print(table[list(columns)].to_string(index=False, float_format="{:.3g}".format))


# %% [markdown]
# ## 1. The pedigree
#
# Rams and ewes are used for several years, so generations overlap and some lambs have related parents. Inbreeding
# counts in the relationship matrix A, of which only the sparse inverse is made.

# %%
pedigree = bmv.Pedigree.from_frame(parents)
flock = pedigree.summary()
print(f"{flock.animals} animals: {flock.founders} founders, {flock.sires} sires, {flock.dams} dams")
print(f"{flock.inbred} inbred, F up to {flock.max_inbreeding:.3f}; mean F of all {flock.mean_inbreeding:.3f}")
A = bmv.Relationship.from_pedigree(pedigree)

# %% [markdown]
# ## 2. Check what the data can tell, before fitting
#
# `vm(animal, A)` are breeding values, related through the pedigree. The lambs that one ewe has in one year share her
# womb and her milk: `litter`. (In a terminal: `bayesmv check models/breeding_us.toml`.)


# %%
def build(random):
    """Both traits, sex and year fixed, and the random terms given."""
    spec = bmv.ModelSpec.from_formula("wwt + fat ~ sex + C(year)", random=random)
    return bmv.build_design(spec, lambs, relationships={"A": A})


design = build("us(trait):vm(animal, A) + us(trait):litter")
for term in bmv.identifiability(design):
    print(f"{term.term}: {term.levels} levels with records. {' '.join(term.warnings) or 'No warnings.'}")

# %% [markdown]
# ## 3. REML beside the truth
#
# `blup` takes covariances as given; at the true ones it says what estimates and predictions could at best be. A flock
# of this size leaves wide standard errors, above all on the genetic correlation.

# %%
reml = bmv.fit_reml(design)
ideal = bmv.blup(design, truth.covariances)
components = reml.varcomp.assign(true=ideal.varcomp["component"])
show(components, "term", "trait_i", "trait_j", "component", "std_error", "true")
estimates = bmv.genetic_parameters(reml, "animal")
estimates["true"] = bmv.genetic_parameters(ideal, "animal")["estimate"]
show(estimates, "parameter", "trait_i", "trait_j", "estimate", "std_error", "true")

# %% [markdown]
# ## 4. Breeding values: BLUP, reliability, accuracy
#
# Reliability is 1 - PEV / ((1 + F) σ²), accuracy its square root: the expected correlation with the true breeding
# value. Founders and the lambs of 2015 have no records: they are predicted from their relatives.


# %%
def judge(predictions, column):
    """Correlation with the true breeding values, beside the accuracy that the model predicts, where it does."""
    table = predictions.merge(truth.breeding_values, on=["level", "trait"])
    table["animals"] = table["level"].isin(lambs["animal"]).map({True: "recorded", False: "no record"})
    groups = table.groupby(["animals", "trait"])
    result = groups["accuracy"].mean().rename("predicted accuracy").to_frame()
    result["correlation with truth"] = groups[[column, "true"]].apply(lambda group: group.corr().iloc[0, 1])
    print(result.to_string(float_format="{:.2f}".format))


blup = bmv.breeding_values(reml, "animal")
show(blup[blup["trait"] == "wwt"].nlargest(4, "blup"), "level", "blup", "std_error", "reliability", "accuracy")
judge(blup, "blup")

# %% [markdown]
# ## 5. The posterior beside REML
#
# Breeding values are integrated out while sampling, so that the sampler sees nine numbers. Those of three animals are
# drawn back for every draw: the ram with most progeny, the lamb with the best `wwt`, and a lamb without `fat`.

# %%
lamb_blup = blup[(blup["trait"] == "wwt") & blup["level"].isin(lambs["animal"])]
chosen = [
    parents["sire"].value_counts().idxmax(),
    lamb_blup.loc[lamb_blup["blup"].idxmax(), "level"],
    lambs.loc[lambs["fat"].isna(), "animal"].iloc[0],
]
draws = int(os.environ.get("BAYESMV_DRAWS", "1000"))
three = {"animal": chosen}
trace = bmv.sample(design, reml=reml, draws=draws, seed=1, effects=three, progress=False)
comparison = bmv.compare_reml(trace, reml)
show(comparison, "term", "parameter", "trait_i", "trait_j", "reml", "median", "hdi_low", "hdi_high", "verdict")
show(bmv.genetic_parameters(trace, "animal"), "parameter", "trait_i", "trait_j", "median", "hdi_low", "hdi_high")
print(bmv.convergence(trace))

# %% [markdown]
# ## 6. Posterior breeding values
#
# Of all 600 animals by accumulated moments: no array of draws by animals is made. The standard errors of BLUP take the
# REML estimates for the truth; the posterior averages over all covariances that the data allow. Of the three chosen
# animals there are draws, and so intervals.

# %%
posterior = bmv.breeding_values(trace, "animal", design=design)
judge(posterior, "mean")
ratio = (posterior["sd"] / blup["std_error"]).groupby(posterior["trait"]).median()
print(f"posterior sd / standard error of BLUP, median: wwt {ratio['wwt']:.2f}, fat {ratio['fat']:.2f}")
drawn = bmv.breeding_values(trace, "animal").merge(truth.breeding_values, on=["level", "trait"])
show(drawn, "level", "trait", "mean", "sd", "hdi_low", "hdi_high", "true")

# %% [markdown]
# ## 7. Relatives ignored
#
# With `ide(animal)` the animals are unrelated. With one record an animal such a term cannot be told from the residual:
# the check says so, whatever a fit may print. The pedigree is what makes genes visible, here to a test against litters
# alone.

# %%
unrelated = build("us(trait):ide(animal) + us(trait):litter")
print(bmv.identifiability(unrelated)[0].warnings[0])
print("without vm(animal, A):", bmv.likelihood_ratio(bmv.fit_reml(build("us(trait):litter")), reml))

# %% [markdown]
# ## 8. Litters left out
#
# Lambs of a litter are full sibs. Without their litter effect, what they share of milk and womb is taken for genes:
# additive variances, heritabilities and the accuracies that the model claims are all too high.

# %%
no_litter = bmv.fit_reml(build("us(trait):vm(animal, A)"))
print("without litter:", bmv.likelihood_ratio(no_litter, reml))
estimates["without litter"] = bmv.genetic_parameters(no_litter, "animal")["estimate"]
show(estimates.head(6), "parameter", "trait_i", "estimate", "without litter", "true")
judge(bmv.breeding_values(no_litter, "animal"), "blup")
