package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHPABehavior(t *testing.T) {
	cfg, err := Load(written(
		"hpaScaleUpStabilization=30s", "hpaScaleUpPercent=0", "hpaScaleUpPods=2", "hpaScaleUpPeriod=1m", "hpaScaleUpSelect=Min",
		"hpaScaleDownStabilization=0s", "hpaScaleDownPercent=10", "hpaScaleDownPods=1", "hpaScaleDownPeriod=30m", "hpaScaleDownSelect=Disabled"), project())
	require.NoError(t, err)
	require.Equal(t, HPABehavior{
		Up:   HPARules{Stabilization: 30 * time.Second, Pods: 2, Period: time.Minute, Select: "Min"},
		Down: HPARules{Percent: 10, Pods: 1, Period: 30 * time.Minute, Select: "Disabled"},
	}, cfg.HPABehavior)
}

func TestBadHPABehavior(t *testing.T) {
	for _, test := range []struct{ setting, message string }{
		{"hpaScaleUpStabilization=500ms", `headroom:hpaScaleUpStabilization is "500ms"; must be a duration in whole seconds from 0s to 1h0m0s`},
		{"hpaScaleUpPercent=-1", `headroom:hpaScaleUpPercent is "-1"; must be a whole number from 0 to 10000`},
		{"hpaScaleUpPods=1001", `headroom:hpaScaleUpPods is "1001"; must be a whole number from 0 to 1000`},
		{"hpaScaleUpPeriod=0s", `headroom:hpaScaleUpPeriod is "0s"; must be a duration in whole seconds from 1s to 30m0s`},
		{"hpaScaleUpSelect=max", `headroom:hpaScaleUpSelect is "max"; must be one of Max, Min, Disabled`},
		{"hpaScaleDownStabilization=2h", `headroom:hpaScaleDownStabilization is "2h0m0s"; must be a duration in whole seconds from 0s to 1h0m0s`},
		{"hpaScaleDownPercent=10001", `headroom:hpaScaleDownPercent is "10001"; must be a whole number from 0 to 10000`},
		{"hpaScaleDownPercent=0", `headroom:hpaScaleDownPercent is "0"; must be above 0 where headroom:hpaScaleDownPods is 0; headroom:hpaScaleDownSelect Disabled forbids steps`},
		{"hpaScaleDownPods=some", `headroom:hpaScaleDownPods is "some"; must be a whole number`},
		{"hpaScaleDownPeriod=31m", `headroom:hpaScaleDownPeriod is "31m0s"; must be a duration in whole seconds from 1s to 30m0s`},
		{"hpaScaleDownSelect=None", `headroom:hpaScaleDownSelect is "None"; must be one of Max, Min, Disabled`},
	} {
		refused(t, test.message, test.setting)
	}
}
