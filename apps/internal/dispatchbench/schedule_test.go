package dispatchbench

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestEvenly(t *testing.T) {
	want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}
	if got := evenly(4, time.Second); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestPoisson(t *testing.T) {
	due := poisson(400, 10*time.Second, 7)
	if len(due) != 4000 || !slices.IsSorted(due) || due[0] < 0 || due[3999] >= 10*time.Second {
		t.Fatalf("%d instants, sorted %v, from %v to %v", len(due), slices.IsSorted(due), due[0], due[len(due)-1])
	}
	if !reflect.DeepEqual(due, poisson(400, 10*time.Second, 7)) {
		t.Error("the same seed gives others")
	}
	if reflect.DeepEqual(due, poisson(400, 10*time.Second, 8)) {
		t.Error("another seed gives the same")
	}
	// Of a Poisson process's gaps 1/e are longer than the mean; of even ones none
	// or all.
	longer := 0
	for i := 1; i < len(due); i++ {
		if due[i]-due[i-1] > time.Second/400 {
			longer++
		}
	}
	if share := float64(longer) / 3999; share < 0.33 || share > 0.41 {
		t.Errorf("%.3f of the gaps are longer than the mean, want about 0.368", share)
	}
}

func TestAlarm(t *testing.T) {
	a, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for range 3 { // it can be set again
		instant := time.Now().Add(20 * time.Millisecond)
		if err := a.until(instant); err != nil {
			t.Fatal(err)
		}
		if late := time.Since(instant); late < 0 || late > time.Second {
			t.Errorf("%v late", late)
		}
	}
	begin := time.Now()
	if err := a.until(begin.Add(-time.Hour)); err != nil || time.Since(begin) > time.Second {
		t.Errorf("an instant of the past: %v after %v", err, time.Since(begin))
	}
}
