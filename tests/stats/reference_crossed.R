# The values from R in tests/stats/test_crossed.py: Rscript tests/stats/reference_crossed.R. Base R and nlme (3.1).
options(digits = 15)
cat(R.version.string, "\n")
number <- function(i) ((7 * i * i + 3 * i) %% 23) / 100 - 0.08
design <- function(datasets, teachers, seeds) { # seeds fastest
  g <- expand.grid(seed = 1:seeds, teacher = 1:teachers, dataset = 1:datasets)
  g$d <- number(seq_len(nrow(g)) - 1)
  g$own <- factor(paste(g$dataset, g$teacher)); g$seed <- factor(g$seed)
  g$dataset <- factor(g$dataset); g$teacher <- factor(g$teacher)
  if (datasets > 1) contrasts(g$dataset) <- contr.sum(datasets)
  g
}
table_of <- function(fit) for (stratum in summary(fit, intercept = TRUE)) {
  rows <- stratum[[1]]
  for (i in seq_len(nrow(rows))) cat(trimws(rownames(rows)[i]), rows[i, "Df"], rows[i, "Mean Sq"],
    if ("F value" %in% names(rows)) c(rows[i, "F value"], rows[i, "Pr(>F)"]), "\n")
}

cat("\n4 teachers x 3 seeds\n")
one <- design(1, 4, 3)
table_of(aov(d ~ 1 + Error(teacher/seed), one))
t <- t.test(aggregate(d ~ teacher, one, mean)$d, alternative = "greater")
cat("mean: t, p greater, two-sided interval", t$statistic, t$p.value,
  t.test(aggregate(d ~ teacher, one, mean)$d)$conf.int, "\n")
cat("teacher against seed:", unlist(anova(lm(d ~ teacher, one))[1, c("F value", "Pr(>F)")]), "\n")

cat("\n3 datasets x 4 teachers x 2 seeds, teachers in datasets\n")
three <- design(3, 4, 2)
table_of(aov(d ~ dataset + Error(own), three))
cat("the same from both arms' values: arm and arm:dataset\n")
both <- rbind(cbind(three, arm = "kd", y = 0.7 + three$d + number(40 + 1:24)),
  cbind(three, arm = "ce", y = 0.7 + number(40 + 1:24)))
both$arm <- factor(both$arm, c("kd", "ce"))
contrasts(both$arm) <- contr.sum(2)
fit <- summary(aov(y ~ arm * dataset + Error(own + own:arm + own:seed), both))[["Error: own:arm"]][[1]]
for (i in 1:2) cat(trimws(rownames(fit)[i]), fit[i, "F value"], fit[i, "Pr(>F)"], "\n")
cat("teacher against seed:", unlist(anova(lm(d ~ own, three), lm(d ~ dataset, three))[2, c("F", "Pr(>F)")]), "\n")
t <- t.test(aggregate(d ~ dataset, three, mean)$d)
cat("mean against dataset: t, p, interval", t$statistic, t$p.value, t$conf.int, "\n")

cat("\nthe same numbers, teachers shared: teacher, dataset, dataset:teacher, seed\n")
table_of(aov(d ~ dataset + Error(teacher/dataset), three))
cat("\nthe same numbers, networks shared: teacher, seed, dataset, dataset:teacher, dataset:seed\n")
table_of(aov(d ~ dataset + Error(teacher + teacher:seed + teacher:dataset), three))

cat("\nslopes: lm, x = log2(temperature), of means over 3 seeds\n")
sweep <- expand.grid(temperature = c(1, 2, 5, 8), seed = 1:3, teacher = 1:2)
sweep$y <- number(seq_len(nrow(sweep)) - 1)
for (t in 1:2) {
  part <- subset(sweep, teacher == t); x <- log2(part$temperature)
  cat(coef(lm(part$y ~ x))[2], coef(lm(part$y ~ x + I(x^2)))[3], "\n")
}
cat("slopes over temperature\n")
for (t in 1:2) cat(coef(lm(y ~ temperature, subset(sweep, teacher == t)))[2], "\n")

cat("\n3 datasets of 4, 3 and 5 teachers: t interval of each; all, stratified, Satterthwaite; Wilcoxon of 5 means\n")
parts <- split(number(0:11), rep(1:3, c(4, 3, 5)))
for (part in parts) { t <- t.test(part); cat(t$estimate, t$stderr, t$parameter, t$conf.int, "\n") }
v <- sapply(parts, function(p) var(p) / length(p)); k <- lengths(parts)
se <- sqrt(sum(v)) / 3; df <- sum(v)^2 / sum(v^2 / (k - 1)); m <- mean(sapply(parts, mean))
cat(m, se, df, m + c(-1, 1) * qt(0.975, df) * se, "\n")
flips <- as.matrix(expand.grid(rep(list(c(-1, 1)), 12)))
w <- unlist(parts) / (3 * rep(k, k))
sums <- flips %*% w
cat("flips:", mean(sums >= sum(w) - 1e-12), mean(abs(sums) >= abs(sum(w)) - 1e-12), "\n")

cat("\nmixed models: REML by nlme", as.character(packageVersion("nlme")), "\n")
library(nlme)
sizes <- c(1, 4, 2, 3, 2, 1, 5, 3)
un <- data.frame(teacher = factor(rep(1:8, sizes)), d = number(seq_len(sum(sizes)) - 1) + rep(c(0, 3, 1, 4, 1, 5, 2, 2), sizes) / 20)
control <- lmeControl(tolerance = 1e-12, msTol = 1e-12, msMaxIter = 500)
fit <- lme(d ~ 1, random = ~ 1 | teacher, un, control = control)
cat(fixef(fit), sqrt(vcov(fit)), as.numeric(VarCorr(fit)[, 1]), "\n")
un$dataset <- factor(ifelse(as.integer(un$teacher) <= 3, "a", "b")); contrasts(un$dataset) <- contr.sum(2)
fit <- lme(d ~ dataset, random = ~ 1 | teacher, un, control = control)
cat(fixef(fit)[1], sqrt(vcov(fit)[1, 1]), as.numeric(VarCorr(fit)[, 1]), "\n")
