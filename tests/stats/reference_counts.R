# The values from R in tests/stats/test_counts.py: Rscript tests/stats/reference_counts.R. Base R alone.
options(digits = 15)
cat(R.version.string, "\n")
tail_of <- c(two.sided = "two.sided", greater = "greater", less = "less")

cat("\nMcNemar, exact (binom.test of b in b + c) and mid-p; odds ratio intervals\n")
for (pair in list(c(9, 3), c(25, 40), c(0, 7), c(6, 6))) {
  b <- pair[1]; c <- pair[2]
  for (side in tail_of) cat(b, c, side, binom.test(b, b + c, alternative = side)$p.value, "\n")
  upper <- sum(dbinom(b:(b + c), b + c, 0.5)) - dbinom(b, b + c, 0.5) / 2
  cat(b, c, "mid-p", min(1, 2 * min(upper, 1 - upper)), upper, 1 - upper, "\n")
  ends <- binom.test(b, b + c)$conf.int
  cat(b, c, "odds, exact", ends / (1 - ends), "\n")
  beyond <- function(p) pbinom(b, b + c, p, lower.tail = FALSE) + dbinom(b, b + c, p) / 2
  end <- function(at) uniroot(function(p) beyond(p) - at, c(1e-12, 1 - 1e-12), tol = 1e-15)$root
  low <- if (b > 0) end(0.025) else 0
  high <- if (c > 0) end(0.975) else 1
  cat(b, c, "odds, mid-p", low / (1 - low), high / (1 - high), "\n")
}

# Score of a hypothesis sum(h * q) = 0 on the four probabilities: z = sum(h * x) / sqrt(n * sum(h^2 * q)), where q has the
# largest likelihood under it: q = x / (n + l * h), with Lagrange's l from one equation that falls in l.
root <- function(f, low, high) uniroot(f, c(low, high), tol = 1e-15, maxiter = 10000)$root
score <- function(x, h) {
  n <- sum(x)
  q_of <- function(l) ifelse(x == 0, 0, x / (n + l * h))
  gap <- function(l) sum(h * q_of(l))
  low <- -n / max(h)
  high <- -n / min(h)
  ends <- c(low + 1e-12 * (high - low), high - 1e-12 * (high - low))
  if (gap(ends[1]) > 0 && gap(ends[2]) < 0) {
    q <- q_of(root(gap, ends[1], ends[2]))
  } else { # a cell without counts takes what the hypothesis lacks
    at <- if (gap(ends[1]) <= 0) which.max(h) else which.min(h)
    q <- q_of(-n / h[at])
    q[at] <- -sum(h * q) / h[at]
  }
  sum(h * x) / sqrt(n * sum(h^2 * q))
}
difference_z <- function(a, b, c, d, delta) score(c(a, b, c, d), c(0, 1, -1, 0) - delta)
ratio_z <- function(a, b, c, d, theta) score(c(a, b, c, d), c(1 - theta, 1, -theta, 0))

cat("\nTango's score for the difference: z(-0.1), z(0.1), 95 % interval\n")
for (t in list(c(80, 9, 3, 8), c(80, 3, 4, 13), c(43, 0, 1, 0), c(20, 0, 0, 5), c(5, 12, 1, 30))) {
  z <- function(delta) difference_z(t[1], t[2], t[3], t[4], delta)
  d <- (t[2] - t[3]) / sum(t)
  low <- root(function(delta) z(delta) - qnorm(0.975), -0.999, d - 1e-9)
  high <- root(function(delta) z(delta) + qnorm(0.975), d + 1e-9, 0.999)
  cat(t, ":", z(-0.1), z(0.1), low, high, "\n")
}

cat("\nscore for the ratio: z(0.9), z(1 / 0.9), 95 % interval\n")
for (t in list(c(80, 9, 3, 8), c(80, 3, 4, 13), c(5, 12, 1, 30), c(40, 2, 20, 10))) {
  z <- function(theta) ratio_z(t[1], t[2], t[3], t[4], theta)
  r <- (t[1] + t[2]) / (t[1] + t[3])
  low <- root(function(theta) z(theta) - qnorm(0.975), r / 20, r - 1e-9)
  high <- root(function(theta) z(theta) + qnorm(0.975), r + 1e-9, r * 20)
  cat(t, ":", z(0.9), z(1 / 0.9), low, high, "\n")
}

cat("\nmantelhaen.test\n")
small <- array(c(12, 8, 5, 9, 7, 4, 11, 15, 3, 1, 0, 6), c(2, 2, 3)) # by columns: a c b d
for (case in c("small", "UCBAdmissions")) {
  tables <- if (case == "small") small else UCBAdmissions
  for (side in tail_of) {
    m <- mantelhaen.test(tables, alternative = side, correct = FALSE)
    e <- mantelhaen.test(tables, alternative = side, exact = TRUE)
    cat(case, side, "asymptotic", unname(m$statistic), m$p.value, unname(m$estimate), m$conf.int, "\n")
    cat(case, side, "exact", unname(e$statistic), e$p.value, unname(e$estimate), e$conf.int, "\n")
  }
  cat(case, "90 %", mantelhaen.test(tables, correct = FALSE, conf.level = 0.9)$conf.int,
    mantelhaen.test(tables, exact = TRUE, conf.level = 0.9)$conf.int, "\n")
}

cat("\nmantelhaen.test solves for the conditional estimate and interval to four digits; here to all of them\n")
of_sum <- function(tables, log_odds) { # distribution of the sum of first cells, table after table
  mass <- 1
  for (k in seq_len(dim(tables)[3])) {
    t <- tables[, , k]
    cells <- max(0, sum(t[, 1]) - sum(t[2, ])):min(sum(t[, 1]), sum(t[1, ]))
    logs <- dhyper(cells, sum(t[1, ]), sum(t[2, ]), sum(t[, 1]), log = TRUE) + cells * log_odds
    one <- exp(logs - max(logs))
    grown <- rep(0, length(mass) + length(one) - 1)
    for (i in seq_along(one)) grown[i - 1 + seq_along(mass)] <- grown[i - 1 + seq_along(mass)] + mass * one[i]
    mass <- grown / sum(grown)
  }
  mass
}
for (case in c("small", "UCBAdmissions")) {
  tables <- if (case == "small") small else UCBAdmissions
  least <- sum(apply(tables, 3, function(t) max(0, sum(t[, 1]) - sum(t[2, ]))))
  at <- sum(tables[1, 1, ]) - least + 1
  solve_for <- function(f) exp(uniroot(function(l) f(of_sum(tables, l)), c(-3, 4), tol = 1e-15)$root)
  cat(case, solve_for(function(m) sum(m * seq_along(m)) - at), solve_for(function(m) sum(m[at:length(m)]) - 0.025),
    solve_for(function(m) 0.025 - sum(m[1:at])), "\n")
}
print(as.vector(UCBAdmissions))
