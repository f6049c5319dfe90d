# %% [markdown]
# # Two traits of a progeny trial: REML, then the posterior beside it
#
# Basic density (`bden`, kg/m³) and acoustic velocity (`veloc`, km/s) of trees from 43 half-sib families in 11 blocks.
# The records are **simulated** so that their two-trait REML estimates equal those published for a real trial
# (L. Apiolaza, Quantum Forest, 2011), whose records are not public.

# %%
import os

import bayesmv as bmv

trees = bmv.load_dataset("canty")
print(trees.head(3).to_string(index=False))
print(trees[["bden", "veloc"]].count().to_string())


def fit(formula, structure):
    """Fit blocks, families and residuals by REML, all with the same structure among the traits."""
    terms = [f"{structure}(trait):{factor}" for factor in ("Block", "Family", "units")]
    spec = bmv.ModelSpec.from_formula(formula, random=" + ".join(terms[:2]), residual=terms[2], unit="tree")
    return bmv.fit_reml(bmv.build_design(spec, trees))


def show(table, *columns):
    """Print some columns of a table."""
    print(table[list(columns)].to_string(index=False, float_format="{:.4g}".format))


components = ("term", "trait_i", "trait_j", "component", "std_error")

# %% [markdown]
# ## 1. Each trait alone

# %%
alone = {trait: fit(f"{trait} ~ 1", "us") for trait in ("bden", "veloc")}
for estimates in alone.values():
    show(estimates.varcomp, *components)

# %% [markdown]
# ## 2. Both traits in one model, independent of each other (`diag`)
#
# The same model, written once: the log-likelihood is the sum of the two above.

# %%
diag = fit("bden + veloc ~ 1", "diag")
show(diag.varcomp, *components)
print(f"logLik {diag.loglik:.3f}, sum of the two {alone['bden'].loglik + alone['veloc'].loglik:.3f}")

# %% [markdown]
# ## 3. Both traits with their covariances (`us`), beside the published estimates

# %%
us = fit("bden + veloc ~ 1", "us")
beside = us.varcomp.assign(published=bmv.published_table()["component"])
show(beside, *components, "published")

# %% [markdown]
# ## 4. The family correlation

# %%
family = us.covariances["Family"]
print(f"family correlation {family[0, 1] / (family[0, 0] * family[1, 1]) ** 0.5:.4f}")

# %% [markdown]
# ## 5. Are the covariances needed? A likelihood-ratio test
#
# The published gain in log-likelihood is 8.53. Ours differs because nobody outside knows which trees of the real trial
# lacked which trait.

# %%
print(f"gain {us.loglik - diag.loglik:.2f}; {bmv.likelihood_ratio(diag, us)}")

# %% [markdown]
# ## 6. The posterior beside REML

# %%
draws = int(os.environ.get("BAYESMV_DRAWS", "1000"))
trace = bmv.sample(us.design, reml=us, draws=draws, seed=1, progress=False)
comparison = bmv.compare_reml(trace, us)
show(comparison, "term", "parameter", "trait_i", "trait_j", "reml", "median", "hdi_low", "hdi_high", "verdict")
print(bmv.convergence(trace))

# %% [markdown]
# ## 7. Heritabilities and correlations
#
# Families are half sibs: the additive variance is four times theirs. Blocks are left out of the phenotypic variance.

# %%
half_sibs = bmv.Genetic(term="Family", relationship="half-sib", phenotypic=("Family", "Residual"))
show(bmv.genetic_parameters(us, half_sibs), "parameter", "trait_i", "trait_j", "estimate", "std_error")
show(bmv.genetic_parameters(trace, half_sibs), "parameter", "trait_i", "trait_j", "median", "hdi_low", "hdi_high")

# %% [markdown]
# ## 8. The picture
#
# ![Posterior densities with the REML estimates](canty_us.png)

# %%
picture = bmv.plot_comparison(trace, us, "canty_us.png")
