# Rscript MCMCglmm.R data.csv pedigree.csv traits terms fixed draws.csv iterations
# CPU seconds of the draws that are written; one estimator of their effective size is applied to all programs.
# Unstructured terms with parameter-expanded priors, flat on the correlation of two; traits in standard deviations, whose
# half-t(2) priors have scale 1.
suppressMessages(library(MCMCglmm))
words <- commandArgs(trailingOnly = TRUE)
names_in <- function(i) setdiff(strsplit(words[i], ",")[[1]], "-")
traits <- names_in(3)
terms <- names_in(4)
data <- read.csv(words[1])
data[traits] <- lapply(data[traits], function(y) as.numeric(scale(y)))
for (term in terms) data[[term]] <- factor(data[[term]])
t <- length(traits)
expanded <- list(V = diag(t), nu = t + 1, alpha.mu = rep(0, t), alpha.V = diag(t) * 2 / 3)
prior <- list(R = list(V = diag(t), nu = t), G = rep(list(expanded), length(terms)))
names(prior$G) <- paste0("G", seq_along(terms))
kin <- NULL
if ("animal" %in% terms) {
  pedigree <- read.csv(words[2])
  kin <- list(animal = inverseA(pedigree)$Ainv)
  data$animal <- factor(data$animal, levels = rownames(kin$animal))
}
fixed <- c("trait - 1", sprintf("trait:%s", names_in(5)))
iterations <- as.integer(words[7])
burn <- iterations %/% 10
began <- sum(proc.time()[1:2])
fit <- MCMCglmm(
  as.formula(sprintf("cbind(%s) ~ %s", paste(traits, collapse = ", "), paste(fixed, collapse = " + "))),
  random = as.formula(paste("~", paste(sprintf("us(trait):%s", terms), collapse = " + "))),
  rcov = ~ us(trait):units, family = rep("gaussian", t), ginverse = kin, data = data, prior = prior,
  nitt = iterations, burnin = burn, thin = 1, verbose = FALSE
)
seconds <- (sum(proc.time()[1:2]) - began) * (iterations - burn) / iterations
write.csv(as.matrix(fit$VCV), words[6], row.names = FALSE)
cat(seconds, "NA\n")
