# The values from R in tests/stats/test_ratios.py, and of the margins in test_designs.py:
# Rscript tests/stats/reference_ratios.R. Base R alone; the version is printed first.
options(digits = 15)
cat(R.version.string, "\n")

p_of <- function(x, y) function(theta) t.test(x - theta * y)$p.value
end <- function(p, level, from, to) uniroot(function(theta) p(theta) - (1 - level), c(from, to), tol = 1e-15)$root

x <- c(0.021, 0.034, 0.012, 0.041, 0.027, 0.019, 0.038)
y <- c(0.21, 0.29, 0.18, 0.33, 0.22, 0.24, 0.27)
theta <- mean(x) / mean(y)
cat("ratio", theta, "\n")
for (level in c(0.95, 0.8)) {
  cat(level, end(p_of(x, y), level, -2, theta - 1e-6), end(p_of(x, y), level, theta + 1e-6, 2), "\n")
}

cat("\na denominator around 0\n")
z <- c(0.3, -0.2, 0.4, 0.1, -0.1, 0.25, -0.05)
cat("its p", t.test(z)$p.value, "ratio", mean(x) / mean(z), "\n")
cat("gap", end(p_of(x, z), 0.95, -5, -0.001), end(p_of(x, z), 0.95, 0.001, mean(x) / mean(z) - 1e-6), "\n")
w <- c(0.5, -0.4, 0.1, 0.6, -0.3, 0.2, -0.6)
cat("least p over theta", optimize(p_of(w, z), c(-50, 50), tol = 1e-12)$objective, "\n")

cat("\nteachers of 3, 2 and 2 students: the linear model's equally weighted mean\n")
teacher <- factor(c(1, 1, 1, 2, 2, 3, 3))
p_model <- function(theta) {
  fit <- lm(I(x - theta * y) ~ 0 + teacher)
  weights <- rep(1 / 3, 3)
  t <- sum(weights * coef(fit)) / sqrt(drop(t(weights) %*% vcov(fit) %*% weights))
  2 * pt(-abs(t), fit$df.residual)
}
theta <- mean(tapply(x, teacher, mean)) / mean(tapply(y, teacher, mean))
cat(theta, end(p_model, 0.95, -2, theta - 1e-6), end(p_model, 0.95, theta + 1e-6, 2), "\n")

cat("\nmargins\n")
d <- c(0.018, -0.004, 0.023, 0.036, 0.011, 0.029, 0.007, 0.041)
cat("p of a mean of -0.03 or less", t.test(d, mu = -0.03, alternative = "greater")$p.value, "\n")
cat("p of a mean of 0.03 or more", t.test(d, mu = 0.03, alternative = "less")$p.value, "\n")
cat("posterior between", diff(pt((c(-0.03, 0.03) - mean(d)) / (sd(d) / sqrt(8)), 7)), "\n")
