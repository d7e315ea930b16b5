package metrics

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metric is a metric whose values are read from a T.
type metric[T any] struct {
	desc    *prometheus.Desc
	collect func(*T, chan<- prometheus.Metric)
}

// collectAll sends the values of metrics.
func collectAll[T any](ch chan<- prometheus.Metric, all []metric[T], v *T) {
	for _, m := range all {
		m.collect(v, ch)
	}
}

// number is the type of a value.
type number interface {
	~int | ~int64 | ~uint32 | ~uint64 | ~float64
}

// rows calls add for each series.
type rows[T any] func(v *T, add func(value float64, labels ...string))

func counter[T any, N number](name, help string, value func(*T) N) metric[T] {
	return single(prometheus.CounterValue, name, help, value)
}

func gauge[T any, N number](name, help string, value func(*T) N) metric[T] {
	return single(prometheus.GaugeValue, name, help, value)
}

// boolean is a gauge that is 1 or 0.
func boolean[T any](name, help string, value func(*T) bool) metric[T] {
	return gauge(name, help, func(v *T) float64 { return number01(value(v)) })
}

// timestamp is a gauge that is absent while the time is zero.
func timestamp[T any](name, help string, value func(*T) time.Time) metric[T] {
	return gauge(name, help, func(v *T) float64 {
		t := value(v)
		if t.IsZero() {
			return math.NaN()
		}
		return float64(t.UnixNano()) / 1e9
	})
}

// single is a metric without labels. It is absent while the value is NaN.
func single[T any, N number](kind prometheus.ValueType, name, help string, value func(*T) N) metric[T] {
	return labeled(kind, name, help, nil, func(v *T, add func(float64, ...string)) {
		if x := float64(value(v)); !math.IsNaN(x) {
			add(x)
		}
	})
}

// counterBy is a counter with one label. It has at most MaxKinds series.
func counterBy[T any, N int | uint64](name, help, label string, values func(*T) map[string]N) metric[T] {
	return by(prometheus.CounterValue, name, help, label, values)
}

// gaugeBy is a gauge with one label. It has at most MaxKinds series.
func gaugeBy[T any, N int | uint64](name, help, label string, values func(*T) map[string]N) metric[T] {
	return by(prometheus.GaugeValue, name, help, label, values)
}

func by[T any, N int | uint64](kind prometheus.ValueType, name, help, label string, values func(*T) map[string]N) metric[T] {
	return labeled(kind, name, help, []string{label}, func(v *T, add func(float64, ...string)) {
		for l, n := range sums[N](values(v)).largest(MaxKinds) {
			add(float64(n), l)
		}
	})
}

// gaugeRows is a gauge with labels. The caller bounds the number of rows.
func gaugeRows[T any](name, help string, labels []string, r rows[T]) metric[T] {
	return labeled(prometheus.GaugeValue, name, help, labels, r)
}

// counterRows is a counter with labels. The caller bounds the number of rows.
func counterRows[T any](name, help string, labels []string, r rows[T]) metric[T] {
	return labeled(prometheus.CounterValue, name, help, labels, r)
}

func labeled[T any](kind prometheus.ValueType, name, help string, labels []string, r rows[T]) metric[T] {
	d := desc(name, help, labels...)
	return metric[T]{d, func(v *T, ch chan<- prometheus.Metric) {
		r(v, func(value float64, labels ...string) {
			for i := range labels {
				labels[i] = label(labels[i])
			}
			ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
		})
	}}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("masq_"+name, help, labels, nil)
}

// number01 returns 1 for true.
func number01(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
