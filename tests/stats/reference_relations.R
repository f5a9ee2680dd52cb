# The values from R in tests/stats/test_relations.py: Rscript tests/stats/reference_relations.R. Base R alone.
options(digits = 15)
cat(R.version.string, "\n")

orders <- function(v) { # every permutation
  if (length(v) == 1) return(list(v))
  do.call(c, lapply(seq_along(v), function(i) lapply(orders(v[-i]), function(rest) c(v[i], rest))))
}
a <- matrix(c(
  0, 31, 12, 5, 9,
  28, 0, 17, 4, 6,
  14, 9, 0, 22, 3,
  2, 8, 25, 0, 13,
  11, 7, 1, 16, 0
), 5, byrow = TRUE)
b <- matrix(c(
  0, 19, 21, 8, 2,
  24, 0, 10, 11, 5,
  6, 15, 0, 18, 9,
  7, 3, 27, 0, 14,
  12, 1, 4, 20, 0
), 5, byrow = TRUE)
outside <- row(a) != col(a)
cat("\nMantel by all 120 permutations: r, P(r* >= r), P(r* <= r), P(|r*| >= |r|)\n")
mantel <- function(a, b) {
  r <- cor(a[outside], b[outside])
  all <- sapply(orders(1:5), function(p) cor(a[outside], b[p, p][outside]))
  cat(r, mean(all >= r - 1e-10), mean(all <= r + 1e-10), mean(abs(all) >= abs(r) - 1e-10), "\n")
}
mantel(a, b)
mantel(a, t(b))
mantel(b, t(b))

s <- matrix(1, 7, 7)
s[upper.tri(s)] <- c(
  0.91, # of teacher 2 with 1, then of 3 with 1, 2, ...
  0.88, 0.93,
  0.80, 0.86, 0.83,
  0.78, 0.85, 0.79, 0.90,
  0.81, 0.82, 0.84, 0.94, 0.89,
  0.75, 0.84, 0.80, 0.87, 0.92, 0.90
)
s[lower.tri(s)] <- t(s)[lower.tri(s)]
group <- c(1, 1, 1, 2, 2, 2, 2)
pairs <- which(upper.tri(s), arr.ind = TRUE)
i <- pairs[, 1]
j <- pairs[, 2]
y <- s[pairs]
kind <- paste(group[i], group[j])

cat("\nStability: estimate, jackknife of each group, residual mean square and its df by lm()\n")
theta <- function(use) {
  k <- (i %in% use) & (j %in% use)
  m <- tapply(y[k], kind[k], mean)
  unname(m["1 2"] - (m["1 1"] + m["2 2"]) / 2)
}
cat(theta(1:7), "\n")
jack <- sapply(1:2, function(g) {
  out <- sapply(which(group == g), function(t) theta(setdiff(1:7, t)))
  (length(out) - 1) / length(out) * sum((out - mean(out))^2)
})
cat(jack, "\n")
# what teacher t adds to pairs with group h is a coefficient of its own
x <- sapply(1:7, function(t) sapply(1:2, function(h) (i == t) * (group[j] == h) + (j == t) * (group[i] == h)))
x <- matrix(x, nrow = length(y))
fit <- lm(y ~ kind + x)
sigma2 <- sum(resid(fit)^2) / df.residual(fit)
cat(sigma2, df.residual(fit), "\n")

# what the residuals add to the variance, and to the jackknife on average: quadratic forms in the weights of the pairs
weights <- sapply(seq_along(y), function(p) { y <<- replace(numeric(21), p, 1); theta(1:7) })
y <- s[pairs]
loo <- t(sapply(1:7, function(t) {
  sapply(seq_along(y), function(p) { y <<- replace(numeric(21), p, 1); theta(setdiff(1:7, t)) })
}))
y <- s[pairs]
expected <- sum(sapply(1:2, function(g) {
  rows <- loo[group == g, ]
  (nrow(rows) - 1) / nrow(rows) * sum(sweep(rows, 2, colMeans(rows))^2)
}))
least <- sum(weights^2) * sigma2
excess <- (expected - sum(weights^2)) * sigma2
cat(sum(weights^2), expected, "\n")

n <- c(3, 4)
df <- sum(jack)^2 / sum(jack^2 / (n - 1))
se <- sqrt(max(sum(jack) - excess, least))
below <- function(d) integrate(function(q) {
  pnorm(-d / sqrt(pmax(sum(jack) * df / qchisq(q, df) - excess, least)))
}, 0, 1, rel.tol = 1e-10)$value
half <- uniroot(function(d) below(d) - 0.025, c(0, 1), tol = 1e-13)$root
cat("df, standard error, p at .12, half of the interval at .95\n")
cat(df, se, below(theta(1:7) + 0.12), half, "\n")
