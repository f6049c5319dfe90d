# Rscript lme4.R data.csv - traits terms fixed: CPU seconds of REML of the stacked traits, and NA.
# The units' covariances take up the residual variance that lme4 adds; no relationships.
suppressMessages(library(lme4))
words <- commandArgs(trailingOnly = TRUE)
names_in <- function(i) setdiff(strsplit(words[i], ",")[[1]], "-")
traits <- names_in(3)
data <- read.csv(words[1])
data$units <- factor(seq_len(nrow(data)))
long <- do.call(rbind, lapply(traits, function(trait) {
  cbind(data[c(names_in(4), names_in(5), "units")], trait = trait, y = as.numeric(scale(data[[trait]])))
}))
fixed <- c("0 + trait", sprintf("trait:%s", names_in(5)))
random <- sprintf("(0 + trait | %s)", c(names_in(4), "units"))
off <- lmerControl(check.nobs.vs.nRE = "ignore", check.nobs.vs.nlev = "ignore", calc.derivs = FALSE)
began <- sum(proc.time()[1:2])
fit <- lmer(as.formula(paste("y ~", paste(c(fixed, random), collapse = " + "))), long, control = off)
cat(sum(proc.time()[1:2]) - began, "NA\n")
