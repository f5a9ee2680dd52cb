# The values from R in tests/stats: Rscript tests/stats/reference.R. Base R alone; the version is printed first.
options(digits = 15)
cat(R.version.string, "\n")

x <- c(0.912, 0.931, 0.874, 0.957, 0.903, 0.942, 0.889, 0.968)
y <- c(0.894, 0.935, 0.851, 0.921, 0.892, 0.913, 0.882, 0.927)

cat("\nt.test\n")
for (side in c("two.sided", "greater", "less")) {
  t <- t.test(x, y, paired = TRUE, alternative = side)
  cat(side, unname(t$statistic), t$p.value, "\n")
}
cat("95 % interval", t.test(x, y, paired = TRUE)$conf.int, "\n")
cat("90 % interval", t.test(x, y, paired = TRUE, conf.level = 0.9)$conf.int, "\n")
cat("TOST at 0.03", max(
  t.test(x, y, paired = TRUE, mu = -0.03, alternative = "greater")$p.value,
  t.test(x, y, paired = TRUE, mu = 0.03, alternative = "less")$p.value
), "\n")

cat("\nwilcox.test, exact, no ties\n")
for (side in c("two.sided", "greater", "less")) {
  w <- wilcox.test(x, y, paired = TRUE, alternative = side, exact = TRUE)
  cat(side, unname(w$statistic), w$p.value, "\n")
}
z <- c(1:12, -(13:15), 16:28, -29, 30)
w <- wilcox.test(z, exact = TRUE)
cat("n = 30", unname(w$statistic), w$p.value, "\n")

cat("\np.adjust\n")
p <- c(0.011, 0.2, 0.0004, 0.03, 0.03, 0.9)
for (method in c("holm", "BH", "BY")) cat(method, p.adjust(p, method), "\n")

cat("\nJZS Bayes factor by integrate(), Rouder et al. (2009) equation 1, r = sqrt(2)/2\n")
jzs <- function(t, n) {
  v <- n - 1
  f <- function(u) { # g = exp(u)
    g <- exp(u)
    a <- 1 + n * g / 2
    exp(-0.5 * log(a) - n / 2 * log1p(t^2 / (v * a)) + n / 2 * log1p(t^2 / v)
        - 0.5 * log(2 * pi) - 0.5 * u - 1 / (2 * g))
  }
  pieces <- seq(-8, 80, 4)
  sum(sapply(seq_along(pieces[-1]), function(i) integrate(f, pieces[i], pieces[i + 1], rel.tol = 1e-12)$value))
}
for (case in list(c(3 * sqrt(2), 5), c(0, 10), c(2.5, 20), c(50, 10), c(1000, 10), c(300, 4), c(4, 500))) {
  cat(case, jzs(case[1], case[2]), "\n")
}

cat("\naov: 4 replicates x 5 examples\n")
m <- matrix(c(
  0.31, 0.12, -0.20, 0.45, 0.07,
  0.52, 0.33, 0.11, 0.61, 0.30,
  0.05, -0.14, -0.42, 0.28, -0.10,
  0.40, 0.09, 0.02, 0.39, 0.26
), nrow = 4, byrow = TRUE)
long <- data.frame(
  value = as.vector(m), replicate = factor(as.vector(row(m))), example = factor(as.vector(col(m))),
  teacher = factor(c(1, 1, 2, 2)[as.vector(row(m))])
)
crossed <- anova(lm(value ~ replicate + example, long))
print(crossed[["Mean Sq"]])
cat("with teachers 1 1 2 2: teacher, example, teacher:replicate, teacher:example, residual\n")
nested <- anova(lm(value ~ teacher + example + teacher:replicate + teacher:example, long))
print(nested[["Mean Sq"]])
print(rownames(nested))

cat("\nstratified t: teachers of 3, 2 and 4 students, the linear model's equally weighted mean\n")
d <- c(0.03, 0.05, 0.01, -0.02, 0.04, 0.06, 0.02, 0.03, 0.07)
teacher <- factor(c(1, 1, 1, 2, 2, 3, 3, 3, 3))
fit <- lm(d ~ 0 + teacher)
w <- rep(1 / 3, 3)
estimate <- sum(w * coef(fit))
sem <- sqrt(drop(t(w) %*% vcov(fit) %*% w))
cat(estimate, sem, fit$df.residual, 2 * pt(-abs(estimate / sem), fit$df.residual), summary(fit)$sigma, "\n")

cat("\nHedges J by a product: J(2) = 1/sqrt(pi), J(m + 2) / J(m) = (m / (m - 1)) * sqrt(m / (m + 2))\n")
j <- 1 / sqrt(pi)
for (m in seq(2, 16, 2)) j <- j * m / (m - 1) * sqrt(m / (m + 2))
cat("J(18)", j, "\n")

cat("\nWalsh averages: wilcox.test(conf.int = TRUE), no ties; pseudomedian and intervals\n")
for (level in c(0.9, 0.95)) {
  w <- wilcox.test(x, y, paired = TRUE, exact = TRUE, conf.int = TRUE, conf.level = level)
  cat(level, unname(w$estimate), w$conf.int, "\n")
}
v <- c(0.31, -0.12, 0.45, 0.07, 0.52, 0.33, 0.11, 0.61, 0.3, -0.05, 0.14, 0.42, 0.28, -0.1, 0.4, 0.093)
w <- wilcox.test(v, exact = TRUE, conf.int = TRUE, conf.level = 0.95)
cat("v", unname(w$estimate), w$conf.int, "\n")

cat("\ninterval of dz: uniroot over the noncentrality of pt, t = dz sqrt(n)\n")
dz.interval <- function(t, n, level = 0.95) {
  sapply(c(1 + level, 1 - level) / 2, function(share) {
    uniroot(function(ncp) pt(t, n - 1, ncp) - share, t + c(-1, 1) * 6 * sqrt(1 + t^2 / n), tol = 1e-13)$root
  }) / sqrt(n)
}
cat("t = 3 sqrt(2), n = 5:", dz.interval(3 * sqrt(2), 5), "\n")
cat("t = 0, n = 10:", dz.interval(0, 10), "\n")
cat("t = -2.5, n = 20, 90 %:", dz.interval(-2.5, 20, 0.9), "\n")
cat("t of x - y:", dz.interval(unname(t.test(x, y, paired = TRUE)$statistic), 8), "\n")

cat("\nbinom.test(7, 10) and binom.test(10, 10)\n")
cat(binom.test(7, 10)$conf.int, binom.test(10, 10)$conf.int, "\n")
cat("\nposterior of the mean, Student's t: below, within, above 0.01 for x - y\n")
d8 <- x - y
se <- sd(d8) / sqrt(8)
cat(pt((-0.01 - mean(d8)) / se, 7), pt((0.01 - mean(d8)) / se, 7) - pt((-0.01 - mean(d8)) / se, 7),
    1 - pt((0.01 - mean(d8)) / se, 7), "\n")
cat("\nratio of means in (0.98, 1.05): the larger of two t.test; non-inferiority at 0.005\n")
cat(max(t.test(x - 0.98 * y, alternative = "greater")$p.value, t.test(x - 1.05 * y, alternative = "less")$p.value),
    t.test(d8, mu = -0.005, alternative = "greater")$p.value, mean(x) / mean(y), "\n")
