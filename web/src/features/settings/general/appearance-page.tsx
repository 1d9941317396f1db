"use client";

import { Card } from "@/ui/card";
import { ChoiceField } from "@/ui/field";
import { setThemeMode, useThemeMode } from "@/ui/theme-mode";
import { SettingsFrame } from "../settings-frame";

export function AppearancePage() {
  const mode = useThemeMode();
  return (
    <SettingsFrame title="Appearance" description="For this browser.">
      <Card className="max-w-2xl">
        <ChoiceField
          label="Theme"
          value={mode}
          onChange={setThemeMode}
          options={[
            { value: "system", label: "Like the system", hint: "Changes with it" },
            { value: "light", label: "Light" },
            { value: "dark", label: "Dark" },
          ]}
        />
        <p className="mt-4 text-xs text-ink-3">
          Times are shown in this browser's zone; hover over one for the exact instant. Sizes are
          binary: 1 GiB is 1,073,741,824 bytes.
        </p>
      </Card>
    </SettingsFrame>
  );
}
