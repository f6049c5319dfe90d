# Rscript MCMCglmm_families.R data.csv pedigree.csv traits terms fixed draws.csv families iterations
# CPU seconds of the draws that are written; one estimator of their effective size is applied to all programs.
# Standard deviations of liabilities and latent values have half-normal(1) priors: V = 1, nu = 1000, alpha.V = 1.
suppressMessages(library(MCMCglmm))
words <- commandArgs(trailingOnly = TRUE)
names_in <- function(i) setdiff(strsplit(words[i], ",")[[1]], "-")
traits <- names_in(3)
terms <- names_in(4)
families <- names_in(7)
data <- read.csv(words[1])
t <- length(traits)
for (trait in traits[families == "ordinal" | families == "threshold"]) data[[trait]] <- factor(data[[trait]])
for (term in terms) data[[term]] <- factor(data[[term]])
kin <- NULL
if ("animal" %in% terms) {
  kin <- list(animal = inverseA(read.csv(words[2]))$Ainv)
  data$animal <- factor(data$animal, levels = rownames(kin$animal))
}
G <- list(V = diag(t), nu = if (t == 1) 1000 else t + 1, alpha.mu = rep(0, t), alpha.V = diag(t))
R <- list(V = diag(t), nu = t)
fixed_from <- which(families == "threshold")
if (length(fixed_from)) R$fix <- min(fixed_from)
prior <- list(R = R, G = rep(list(G), length(terms)))
names(prior$G) <- paste0("G", seq_along(terms))
one <- t == 1
formula <- if (one) sprintf("%s ~ 1", traits) else sprintf("cbind(%s) ~ trait - 1", paste(traits, collapse = ", "))
random <- if (one) terms else sprintf("us(trait):%s", terms)
iterations <- as.integer(words[8])
burn <- iterations %/% 10
began <- sum(proc.time()[1:2])
fit <- MCMCglmm(
  as.formula(formula), random = as.formula(paste("~", paste(random, collapse = " + "))),
  rcov = if (one) ~units else ~ us(trait):units, family = families, ginverse = kin, data = data, prior = prior,
  nitt = iterations, burnin = burn, thin = 1, verbose = FALSE
)
seconds <- (sum(proc.time()[1:2]) - began) * (iterations - burn) / iterations
draws <- as.matrix(fit$VCV)
if (!is.null(fit$CP)) draws <- cbind(draws, as.matrix(fit$CP))
write.csv(draws, words[6], row.names = FALSE)
cat(seconds, "NA\n")
