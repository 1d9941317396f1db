"use client";

import { Button as FlowbiteButton, Spinner, Tooltip } from "flowbite-react";
import Link from "next/link";
import type { FC, MouseEvent, ReactNode, SVGProps } from "react";
import { cx } from "./class-names";

export type Icon = FC<SVGProps<SVGSVGElement>>;
export type ButtonVariant = "primary" | "secondary" | "ghost" | "danger" | "danger-quiet";

export interface ButtonProps {
  children: ReactNode;
  variant?: ButtonVariant;
  size?: "xs" | "sm" | "md";
  icon?: Icon;
  /** Goes there instead of calling `onClick`. */
  href?: string;
  onClick?: (event: MouseEvent) => void;
  type?: "button" | "submit";
  form?: string;
  /** Shows that it is at work and takes no further clicks. */
  busy?: boolean;
  /** Why it cannot be used now. Given, the button is disabled but still says why, also to keyboards. */
  disabledReason?: string | null | undefined;
  className?: string;
  "aria-label"?: string;
  "aria-expanded"?: boolean;
  "aria-pressed"?: boolean;
  "data-testid"?: string;
}

export function Button({
  children,
  variant = "secondary",
  size = "sm",
  icon: IconComponent,
  href,
  onClick,
  busy,
  disabledReason,
  className,
  ...rest
}: ButtonProps) {
  const disabled = Boolean(disabledReason);
  const content = (
    <>
      {busy ? (
        <Spinner size="sm" color="inherit" aria-hidden />
      ) : (
        IconComponent && <IconComponent className="-ml-0.5 size-4 flex-none" aria-hidden />
      )}
      {children}
    </>
  );
  if (href && !disabled) {
    return (
      <FlowbiteButton
        as={Link}
        href={href}
        color={variant}
        size={size}
        className={className}
        {...rest}
        type={undefined}
      >
        {content}
      </FlowbiteButton>
    );
  }
  const button = (
    <FlowbiteButton
      color={variant}
      size={size}
      aria-disabled={disabled || busy || undefined}
      className={cx((disabled || busy) && "cursor-not-allowed opacity-50", className)}
      onClick={(event: MouseEvent) => {
        if (disabled || busy) event.preventDefault();
        else onClick?.(event);
      }}
      {...rest}
    >
      {content}
    </FlowbiteButton>
  );
  return disabledReason ? <Tooltip content={disabledReason}>{button}</Tooltip> : button;
}

export interface IconButtonProps {
  icon: Icon;
  /** What it does; also the tooltip. */
  label: string;
  onClick?: (event: MouseEvent) => void;
  href?: string;
  disabledReason?: string | null | undefined;
  size?: "xs" | "sm";
  pressed?: boolean;
  expanded?: boolean;
  className?: string;
}

/** Plain, for rows: Flowbite's Button resolves its theme on every mount, which a long table feels. */
export function IconButton({
  icon: IconComponent,
  label,
  onClick,
  href,
  disabledReason,
  size = "sm",
  pressed,
  expanded,
  className,
}: IconButtonProps) {
  const names = cx(
    "inline-flex flex-none items-center justify-center rounded-md text-ink-3 transition-colors",
    size === "sm" ? "size-8" : "size-7",
    disabledReason ? "cursor-not-allowed opacity-40" : "hover:bg-sunken hover:text-ink",
    pressed && "bg-accent-soft text-accent",
    className,
  );
  const title = disabledReason ? `${label}: ${disabledReason}` : label;
  if (href && !disabledReason) {
    return (
      <Link href={href} className={names} aria-label={label} title={title}>
        <IconComponent className="size-4" aria-hidden />
      </Link>
    );
  }
  return (
    <button
      type="button"
      className={names}
      aria-label={title}
      title={title}
      aria-disabled={disabledReason ? true : undefined}
      aria-pressed={pressed}
      aria-expanded={expanded}
      onClick={(event) => {
        if (!disabledReason) onClick?.(event);
      }}
    >
      <IconComponent className="size-4" aria-hidden />
    </button>
  );
}

export interface RowActionProps {
  icon: Icon;
  label: string;
  /** The row it belongs to, for screen readers. */
  of: string;
  onClick: () => void;
  disabledReason?: string | null | undefined;
}

/** An action of a table row: an icon, with its word where the table is wide enough. */
export function RowAction({
  icon: IconComponent,
  label,
  of,
  onClick,
  disabledReason,
}: RowActionProps) {
  return (
    <button
      type="button"
      aria-label={`${label} ${of}`}
      title={disabledReason ? `${label}: ${disabledReason}` : label}
      aria-disabled={disabledReason ? true : undefined}
      className={cx(
        "inline-flex h-7 flex-none items-center gap-1.5 whitespace-nowrap rounded-md px-1.5 text-xs font-medium",
        disabledReason
          ? "cursor-not-allowed text-ink-3 opacity-50"
          : "text-ink-2 hover:bg-sunken hover:text-ink",
      )}
      onClick={() => {
        if (!disabledReason) onClick();
      }}
    >
      <IconComponent className="size-4" aria-hidden />
      <span className="hidden @4xl:inline">{label}</span>
    </button>
  );
}
