import { cx } from "./class-names";

/** Where one is in a form of several steps. */
export function WizardSteps({ names, current }: { names: readonly string[]; current: number }) {
  return (
    <ol className="flex gap-2 text-xs" aria-label="Steps">
      {names.map((name, place) => (
        <li
          key={name}
          aria-current={place === current ? "step" : undefined}
          className={cx(
            "flex-1 border-t-2 pt-1.5",
            place <= current ? "border-accent text-ink" : "border-line text-ink-3",
          )}
        >
          {name}
        </li>
      ))}
    </ol>
  );
}
