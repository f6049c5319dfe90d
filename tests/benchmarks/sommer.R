# Rscript sommer.R data.csv pedigree.csv traits terms fixed: CPU seconds of REML by mmer (sommer up to 4.3), and NA.
suppressMessages(library(sommer))
words <- commandArgs(trailingOnly = TRUE)
names_in <- function(i) setdiff(strsplit(words[i], ",")[[1]], "-")
traits <- names_in(3)
terms <- names_in(4)
t <- length(traits)
data <- read.csv(words[1])
data[traits] <- lapply(data[traits], function(y) as.numeric(scale(y)))
for (term in terms) data[[term]] <- factor(data[[term]])
numerator <- function(pedigree) { # parents stand before their offspring
  n <- nrow(pedigree)
  sire <- match(pedigree$sire, pedigree$animal)
  dam <- match(pedigree$dam, pedigree$animal)
  A <- diag(n)
  for (i in seq_len(n)) {
    parents <- c(sire[i], dam[i])
    known <- parents[!is.na(parents)]
    before <- seq_len(i - 1)
    if (length(known)) A[i, before] <- A[before, i] <- colSums(A[known, before, drop = FALSE]) / 2
    if (length(known) == 2) A[i, i] <- 1 + A[known[1], known[2]] / 2
  }
  dimnames(A) <- list(pedigree$animal, pedigree$animal)
  A
}
if ("animal" %in% terms) A <- numerator(read.csv(words[2]))
piece <- function(term) sprintf("vsr(%s, %sGtc = unsm(%d))", term, if (term == "animal") "Gu = A, " else "", t)
began <- sum(proc.time()[1:2])
fit <- mmer(
  as.formula(sprintf("cbind(%s) ~ %s", paste(traits, collapse = ", "), paste(c("1", names_in(5)), collapse = " + "))),
  random = as.formula(paste("~", paste(sapply(terms, piece), collapse = " + "))),
  rcov = as.formula(sprintf("~ vsr(units, Gtc = unsm(%d))", t)), data = data, verbose = FALSE, dateWarning = FALSE
)
stopifnot(fit$convergence)
cat(sum(proc.time()[1:2]) - began, "NA\n")
