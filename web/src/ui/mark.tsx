/** The product's mark. */
export function Mark({ className }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" className={className} aria-hidden focusable="false">
      <title>Holdfast</title>
      <rect width="32" height="32" rx="7" className="fill-accent-solid" />
      <path d="M9 7v18M23 7v18M9 16h14" stroke="#fff" strokeWidth="3.4" strokeLinecap="round" />
      <circle
        cx="16"
        cy="16"
        r="4.2"
        className="fill-accent-solid"
        stroke="#fff"
        strokeWidth="2.6"
      />
    </svg>
  );
}
